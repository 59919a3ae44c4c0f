import numpy as np

from classifier.promotion.calibration import expected_calibration_error, fit_temperature, reliability


def softmax(logits):
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return (exp / exp.sum(1, keepdims=True)).astype(np.float32)


def overconfident(count=4000):
    """Answers drawn from softmax(z), claimed as softmax(3 z)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (count, 3)).astype(np.float32)
    targets = np.array(
        [rng.choice(3, p=row) for row in softmax(logits).astype(float) / softmax(logits).astype(float).sum(1, keepdims=True)]
    )
    return 3 * logits, targets


def test_the_temperature_undoes_overconfidence():
    logits, targets = overconfident()

    temperature = fit_temperature(logits, targets)

    assert 2.7 < temperature < 3.3
    assert (
        expected_calibration_error(softmax(logits / temperature), targets)
        < 0.03
        < expected_calibration_error(softmax(logits), targets)
    )
    assert sum(count for _, _, count in reliability(softmax(logits), targets)) == len(targets)


def test_answers_that_are_all_right_still_give_a_finite_temperature():
    logits = np.array([[9.0, -9.0], [-9.0, 9.0]], np.float32)

    assert 0.05 <= fit_temperature(logits, np.array([0, 1])) <= 20
