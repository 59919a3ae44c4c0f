"""The accuracy estimator, on drawn features: two classes along one direction, and changes that move all images aside or towards each other."""

import numpy as np
import pytest
from scipy.special import softmax

from imageloop.embeddings.accuracy_estimator import ESTIMATOR_FILE, AccuracyEstimator
from imageloop.promotion.fit_accuracy_estimator import fit_accuracy_estimator
from imageloop.promotion.judged_predictions import LabelledImages, judge_by_cross_fitting, known_images
from imageloop.training.logistic_head import LogisticHead
from imageloop.training.rehearsal import FROM_FEEDBACK, SHUFFLED, Cell
from imageloop.training.rehearsed_copies import Copies

DIMENSIONS, NUM_IMAGES = 48, 240
APART = 3.0


def draw(count, seed, *, towards=0.0, aside=0.0):
    """Embeddings of both classes; `towards`: how much nearer the classes lie to each other, `aside`: how far all are moved."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % 2
    rows = rng.normal(0, 1, (count, DIMENSIONS))
    rows[:, 0] += 6.0
    rows[:, 1] += np.where(classes == 1, 1, -1) * APART / 2 * (1 - towards)
    rows[:, 2] += aside
    return rows.astype(np.float32), classes


@pytest.fixture(scope="module")
def model():
    rows, classes = draw(NUM_IMAGES, 0)
    labelled = LabelledImages(rows, classes, np.arange(NUM_IMAGES) % 5, np.ones(NUM_IMAGES))
    cells = {
        Cell("towards", 1): {"towards": 0.5, "aside": 3},
        Cell("both", 1): {"towards": 0.9, "aside": 5},
        Cell("aside", 1): {"aside": 2},
    }
    copies = [draw(NUM_IMAGES, 0, **change)[0] for change in cells.values()]
    nothing = np.random.default_rng(1).normal(0, 3, (NUM_IMAGES, DIMENSIONS)).astype(np.float32)
    changed = Copies(
        np.concatenate([*copies, nothing]),
        np.tile(np.arange(NUM_IMAGES), 4),
        [cell for cell in [*cells, Cell(SHUFFLED, 1)] for _ in range(NUM_IMAGES)],
    )
    judged = judge_by_cross_fitting(labelled, changed, 2)
    return LogisticHead.fit(rows, classes, 2), fit_accuracy_estimator(judged, known_images(labelled, 2))


def estimated(model, rows):
    head, estimator = model
    return estimator.estimate(rows, softmax(head.logits(rows), axis=1).astype(np.float32))


def accuracy(model, rows, classes):
    return float((model[0].logits(rows).argmax(1) == classes).mean())


def test_unchanged_images_are_estimated_near_the_usual_accuracy(model):
    rows, classes = draw(200, 7)

    estimate = estimated(model, rows)

    assert abs(estimate.value - estimate.usual) < 0.06
    assert estimate.low <= accuracy(model, rows, classes) <= estimate.high


def test_a_harmful_change_that_was_not_rehearsed_lowers_the_estimate_and_widens_the_interval(model):
    rows, classes = draw(200, 8, towards=0.7, aside=4)

    before, after = estimated(model, draw(200, 7)[0]), estimated(model, rows)

    assert accuracy(model, rows, classes) < 0.8
    assert after.value < before.value - 0.1
    assert after.high - after.low > before.high - before.low
    assert after.low <= accuracy(model, rows, classes) <= after.high


def test_a_new_class_among_known_images_lowers_the_estimate_and_its_interval_holds_the_accuracy(model):
    known, classes = draw(150, 8)
    others = draw(50, 9)[0] + 15 * np.eye(DIMENSIONS, dtype=np.float32)[5]
    right = accuracy(model, known, classes) * 150 / 200

    before, after = estimated(model, known), estimated(model, np.concatenate([known, others]))

    assert before.value - after.value > 0.1
    assert after.low <= right <= after.high


def test_an_estimator_of_an_older_package_is_read(model, tmp_path):
    estimator = model[1]
    estimator.write(tmp_path)
    with np.load(tmp_path / ESTIMATOR_FILE) as content:
        arrays = {name: content[name] for name in content.files if name != "distances"}
    np.savez(tmp_path / ESTIMATOR_FILE, **arrays)

    again = AccuracyEstimator.read(tmp_path)

    assert np.isinf(again.distances_4).all()


def test_fewer_images_give_a_wider_interval(model):
    many, few = estimated(model, draw(200, 7)[0]), estimated(model, draw(10, 7)[0])

    assert few.high - few.low > many.high - many.low


def test_one_image_has_an_estimate_and_none_has_an_error(model):
    rows, _ = draw(1, 3)

    assert 0 <= estimated(model, rows).low <= estimated(model, rows).high <= 1
    with pytest.raises(ValueError, match="expected one image or more"):
        estimated(model, rows[:0])


def test_an_estimator_that_was_written_and_read_estimates_the_same(model, tmp_path):
    head, estimator = model
    rows, _ = draw(50, 9, aside=2)

    estimator.write(tmp_path)
    again = AccuracyEstimator.read(tmp_path)

    assert estimated((head, again), rows).value == pytest.approx(estimated(model, rows).value, abs=1e-3)
    assert AccuracyEstimator.read(tmp_path / "elsewhere") is None


def test_a_model_that_is_always_right_has_an_estimator():
    rows, classes = draw(60, 0)
    rows[:, 1] = np.where(classes == 1, 20, -20)
    labelled = LabelledImages(rows, classes, np.arange(60) % 5, np.ones(60))
    judged = judge_by_cross_fitting(labelled, Copies(rows, np.arange(60), [Cell("blur", 1)] * 60), 2)

    estimator = fit_accuracy_estimator(judged, known_images(labelled, 2))

    assert estimator.usual == 1.0
    assert estimated((LogisticHead.fit(rows, classes, 2), estimator), rows).value > 0.9


def test_after_a_retraining_the_usual_accuracy_is_that_on_labelled_predictions():
    rows, classes = draw(NUM_IMAGES, 0)
    met, met_classes = draw(200, 4, towards=0.7, aside=3)
    rng = np.random.default_rng(0)
    labelled = LabelledImages(
        np.concatenate([rows, met]), np.concatenate([classes, met_classes]), rng.integers(0, 5, NUM_IMAGES + 200),
        np.append(np.ones(NUM_IMAGES), np.full(200, 4.0)), num_feedback=200,
    )  # fmt: skip
    copies = Copies(draw(NUM_IMAGES, 0, towards=0.4, aside=1)[0], np.arange(NUM_IMAGES), [Cell("blur", 1)] * NUM_IMAGES)
    judged = judge_by_cross_fitting(labelled, copies, 2)

    estimator = fit_accuracy_estimator(judged, known_images(labelled, 2), FROM_FEEDBACK)
    retrained = LogisticHead.fit(labelled.embeddings_ND, labelled.classes_N, 2, labelled.weights_N)
    now, now_classes = draw(200, 6, towards=0.7, aside=3)
    estimate = estimated((retrained, estimator), now)

    assert judged.cells_N.count(FROM_FEEDBACK) == 200
    assert estimator.usual < 0.85
    assert estimate.low <= accuracy((retrained, estimator), now, now_classes) <= estimate.high
    assert abs(estimate.value - estimator.usual) < 0.1


@pytest.mark.parametrize("count", [1, 60])
def test_a_window_of_one_image_many_times_has_an_estimate(model, count):
    rows = np.repeat(draw(1, 5)[0], count, axis=0)

    estimate = estimated(model, rows)

    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_a_class_of_one_image_and_many_small_classes_have_an_estimator():
    rng = np.random.default_rng(0)
    classes = np.array([0, *np.repeat(np.arange(1, 37), 4)])
    rows = (rng.normal(size=(len(classes), 64)) + 6 * np.eye(64)[classes]).astype(np.float32)
    labelled = LabelledImages(rows, classes, rng.integers(0, 5, len(classes)), np.ones(len(classes)))
    judged = judge_by_cross_fitting(labelled, Copies(rows + 1, np.arange(len(rows)), [Cell("blur", 1)] * len(rows)), 37)

    estimator = fit_accuracy_estimator(judged, known_images(labelled, 37))
    estimate = estimated((LogisticHead.fit(rows, classes, 37), estimator), rows[:20])

    assert 0 < estimator.usual < 1
    assert estimate.low <= estimate.high


def test_a_copy_is_judged_by_a_head_that_knows_no_copy_of_its_family():
    rows, classes = draw(NUM_IMAGES, 0)
    labelled = LabelledImages(rows, classes, np.arange(NUM_IMAGES) % 5, np.ones(NUM_IMAGES))
    mirrored = rows.copy()
    mirrored[:, 1] *= -1  # what a head can learn from such copies alone
    mirrored[:, 3] = np.where(classes == 1, 6, -6)
    blur = Copies(mirrored, np.arange(NUM_IMAGES), [Cell("blur", 1)] * NUM_IMAGES)
    noise = Copies(mirrored, np.arange(NUM_IMAGES), [Cell("noise", 1)] * NUM_IMAGES)
    both = Copies(np.concatenate([mirrored, mirrored]), np.tile(np.arange(NUM_IMAGES), 2), blur.cells_C + noise.cells_C)

    alone, with_others = (judge_by_cross_fitting(labelled, copies, 2, rehearsal_weight=1.0) for copies in (blur, both))

    right = [judged.right_N[NUM_IMAGES : 2 * NUM_IMAGES].mean() for judged in (alone, with_others)]
    assert right[0] < 0.2
    assert right[1] > 0.9
