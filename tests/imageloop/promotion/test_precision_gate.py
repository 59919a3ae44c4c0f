import numpy as np
import pytest

from imageloop.promotion.precision_gate import judge_precision
from imageloop.promotion.settings import ExportSettings

RNG = np.random.default_rng(0)


def probabilities(count: int, sure: float) -> tuple[np.ndarray, np.ndarray]:
    """Of three classes, the right one with a probability around `sure`."""
    targets = RNG.integers(0, 3, count)
    rows = RNG.uniform(0, 1, (count, 3))
    rows /= rows.sum(1, keepdims=True)
    right = np.eye(3)[targets]
    return (sure * right + (1 - sure) * rows).astype(np.float32), targets


def nudged(exact: np.ndarray, deviation: float, loss: float, targets: np.ndarray) -> np.ndarray:
    """The same with noise, and less for the right class."""
    changed = (exact + RNG.normal(0, deviation, exact.shape)).clip(1e-6)
    changed /= changed.sum(1, keepdims=True)
    changed[np.arange(len(targets)), targets] -= loss
    return changed.astype(np.float32)


def test_one_image_of_sixty_decides_nothing():
    exact, targets = probabilities(60, 0.8)
    exact[0] = [0.34, 0.33, 0.33]
    int8 = nudged(exact, 0.002, 0.0, targets)
    int8[0] = [0.33, 0.34, 0.33]

    verdict = judge_precision(exact, int8, targets, ExportSettings(), "int8")

    assert verdict.accepted
    assert verdict.agreement == pytest.approx(59 / 60)
    assert verdict.accuracy_loss_low <= verdict.accuracy_loss <= verdict.accuracy_loss_high


def test_a_loss_is_seen_where_hardly_a_label_changes():
    exact, targets = probabilities(200, 0.9)

    verdict = judge_precision(exact, nudged(exact, 0.002, 0.05, targets), targets, ExportSettings(), "int8")

    assert verdict.agreement == 1
    assert verdict.accuracy_loss_low > 0.01
    assert not verdict.accepted


def test_labels_that_differ_too_often_are_refused_however_right_both_are():
    exact, targets = probabilities(400, 0.05)
    int8 = exact[:, [1, 0, 2]]

    verdict = judge_precision(exact, int8, targets, ExportSettings(int8_max_accuracy_loss=1.0), "int8")

    assert not verdict.accepted


def test_few_images_that_differ_much_prove_nothing_good():
    exact, targets = probabilities(8, 0.5)

    assert not judge_precision(exact, nudged(exact, 0.1, 0.0, targets), targets, ExportSettings(), "int8").accepted
