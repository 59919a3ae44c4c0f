import pytest

from imageloop.intervals import difference


@pytest.mark.parametrize(
    ("successes", "counts", "expected"),
    [((56, 48), (70, 80), (0.0524, 0.3339)), ((9, 3), (10, 10), (0.1705, 0.8090)), ((10, 0), (10, 10), (0.6075, 1.0))],
)
def test_a_difference_has_the_published_interval(successes, counts, expected):
    """Newcombe's table 2, method 10."""
    assert difference(successes, counts) == pytest.approx(expected, abs=5e-5)


def test_nothing_is_known_of_an_empty_group():
    assert difference((0, 5), (0, 10)) == (-1.0, 1.0)
