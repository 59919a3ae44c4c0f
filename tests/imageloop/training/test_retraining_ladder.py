"""Which way to retrain is chosen after which change, and what a person is advised where none is enough."""

from dataclasses import replace

import numpy as np
import pytest

from imageloop.training.logistic_head import LogisticHead
from imageloop.training.retraining_ladder import (
    AS_IT_IS,
    LABELS,
    NUM_FOLDS,
    RECALIBRATED,
    WITH_COPIES,
    Ladder,
    LadderInput,
    Rung,
    choose,
    compare_rungs,
)

NAMES = ["ant", "bee", "cat"]
NUM_FEATURES = 32
CENTRES = np.pad(np.random.default_rng(0).normal(size=(3, NUM_FEATURES // 2)), ((0, 0), (0, NUM_FEATURES // 2)))


def images(count: int, seed: int, change=lambda rows: rows) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, count)
    rows = CENTRES[classes] + 0.8 * rng.normal(size=(count, NUM_FEATURES))
    return change(rows).astype(np.float32), classes


def turned(rows: np.ndarray) -> np.ndarray:
    """A change that a head must be trained for: other features show the class."""
    return np.roll(rows, NUM_FEATURES // 2, axis=1)


def given(change=turned, num_labels: int = 90, copies: bool = False, usual: float = 0.9) -> LadderInput:
    labels_ND, classes_N = images(num_labels, 1, change)
    known_MD, known_M = images(300, 2)
    unchanged_UD, unchanged_U = images(100, 3)
    copies_CD, copies_C = images(200 if copies else 0, 4, change)
    champion = LogisticHead.fit(known_MD, known_M, 3)
    folds_N, every_N = np.arange(num_labels) % NUM_FOLDS, np.ones(num_labels, bool)
    return LadderInput(
        labels_ND,
        classes_N,
        folds_N,
        every_N,
        every_N,
        known_MD,
        known_M,
        unchanged_UD,
        unchanged_U,
        copies_CD,
        copies_C,
        champion,
        NAMES,
        usual,
    )


def accuracies(ladder: Ladder) -> dict[str, float]:
    return {rung.name: rung.accuracy for rung in ladder.rungs}


def test_a_change_of_the_features_takes_a_head_on_labels():
    ladder = compare_rungs(given())

    expected = accuracies(ladder)
    assert ladder.chosen == LABELS
    assert expected[LABELS] > expected[RECALIBRATED] + 0.1
    assert expected[LABELS] > expected[AS_IT_IS] + 0.2
    assert all(rung.low <= rung.accuracy <= rung.high for rung in ladder.rungs)


def test_the_expected_accuracy_is_that_on_other_images():
    """Four fifths of the labels are few, so cross-fitting expects a little less than what they give in the end."""
    retraining = given(num_labels=200)
    others_ND, others_N = images(2000, 9, turned)

    expected = accuracies(compare_rungs(retraining))

    for name in (AS_IT_IS, RECALIBRATED, LABELS):
        head = retraining.fit(name, np.arange(200))
        assert expected[name] == pytest.approx((head.logits(others_ND).argmax(1) == others_N).mean(), abs=0.08)


def test_copies_that_are_changed_alike_help_where_labels_are_few():
    ladder = compare_rungs(given(num_labels=24, copies=True))

    assert ladder.chosen == WITH_COPIES
    assert accuracies(ladder)[WITH_COPIES] > accuracies(ladder)[LABELS]


def test_copies_that_cost_accuracy_on_images_as_usual_are_left_out():
    retraining = given(copies=True)
    contradicting = replace(retraining, copies_CD=retraining.known_MD[:200], copies_C=(retraining.known_M[:200] + 1) % 3)
    many = replace(contradicting, copies_CD=np.tile(contradicting.copies_CD, (9, 1)), copies_C=np.tile(contradicting.copies_C, 9))

    assert compare_rungs(many).chosen == LABELS


@pytest.mark.parametrize(("num_right", "chosen"), [(59, LABELS), (60, LABELS), (61, RECALIBRATED)])
def test_what_is_right_most_often_is_chosen_and_of_equals_the_larger_change(num_right, chosen):
    by_labels, by_thresholds = np.arange(100) < 60, np.arange(100)[::-1] < num_right
    right = {AS_IT_IS: np.ones(100, bool), RECALIBRATED: by_thresholds, LABELS: by_labels}

    assert choose(right, dict.fromkeys(right, np.ones(50, bool))) == chosen


def test_contradicted_labels_judge_and_do_not_train():
    """Those that no model predicts are among the images that are met: without them every rung would look better."""
    retraining = given(num_labels=120)
    wrong_N = np.arange(120) % 3 == 0
    classes_N = np.where(wrong_N, (retraining.classes_N + 1) % 3, retraining.classes_N)

    ladder = compare_rungs(replace(retraining, classes_N=classes_N, trains_N=~wrong_N))

    assert ladder.num_labels == 120
    assert accuracies(ladder)[LABELS] == pytest.approx(2 / 3, abs=0.1)


@pytest.mark.parametrize(("num_new", "num_judging", "names"), [(40, 40, [AS_IT_IS, RECALIBRATED, LABELS]), (5, 120, [LABELS])])
def test_the_champion_is_judged_only_by_labels_that_did_not_train_it(num_new, num_judging, names):
    ladder = compare_rungs(replace(given(num_labels=120), new_N=np.arange(120) < num_new))

    assert ladder.num_labels == num_judging
    assert [rung.name for rung in ladder.rungs] == names


def test_what_is_good_enough_needs_no_advice():
    assert compare_rungs(given(num_labels=240, usual=0.5)).advice == ""


def test_a_person_is_advised_how_much_more_labels_may_give_and_of_which_classes():
    sentence = compare_rungs(given(num_labels=40, usual=1.0)).sentence()

    assert "twice as many labels may give about" in sentence
    assert "above all of '" in sentence


def test_where_labels_do_not_help_a_person_is_advised_to_train_more_than_the_head():
    """Images as usual, of which the known ones have taught all that a head can learn."""
    ladder = compare_rungs(given(lambda rows: rows, num_labels=400, usual=1.1))

    assert "fine_tune_blocks=2" in ladder.advice


def test_a_ladder_is_the_same_after_it_was_stored():
    ladder = Ladder([Rung(LABELS, 0.5, 0.4, 0.6, 0.9)], LABELS, 12, "more")

    assert Ladder.of_dict({"rungs": [vars(ladder.rungs[0])], "chosen": LABELS, "num_labels": 12, "advice": "more"}) == ladder
