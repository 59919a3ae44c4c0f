"""Images that lie apart from the others of their window, by distances alone."""

import numpy as np
import pytest

from imageloop.embeddings.images_apart import chance_apart, usual_distances


def distances(count, seed, *, moved=0.0):
    return np.random.default_rng(seed).normal(moved, 0.2, count)


USUAL = usual_distances(distances(1000, 0))


@pytest.mark.parametrize("count", [1, 25, 50, 200])
def test_among_usual_images_hardly_any_lies_apart(count):
    shares = [chance_apart(distances(count, seed), USUAL).mean() for seed in range(1, 101)]

    assert np.mean(shares) < 0.01


def test_a_change_of_all_images_sets_none_apart():
    assert chance_apart(distances(200, 1, moved=1.5), USUAL).mean() < 0.01


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_those_that_lie_apart_are_found_and_the_others_are_not(share):
    count = int(200 * share)
    window = np.concatenate([distances(200 - count, 2), distances(count, 3, moved=1.5)])

    apart = chance_apart(window, USUAL)

    assert apart[-count:].mean() > 0.6
    assert apart[:-count].mean() < 0.05


def test_where_the_others_are_unknown_none_lies_apart():
    assert chance_apart(distances(50, 1, moved=1.5), np.full(4, np.inf)).sum() == 0
