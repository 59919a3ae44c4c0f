import numpy as np

from imageloop.promotion.calibration import chance_of_error, expected_calibration_error, fit_temperature, reliability


def softmax(logits):
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return (exp / exp.sum(1, keepdims=True)).astype(np.float32)


def overconfident(count=4000):
    """Labels drawn from softmax(z), claimed as softmax(3 z)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (count, 3)).astype(np.float32)
    targets = np.array(
        [rng.choice(3, p=row) for row in softmax(logits).astype(float) / softmax(logits).astype(float).sum(1, keepdims=True)]
    )
    return 3 * logits, targets


def test_the_temperature_undoes_overconfidence():
    logits, targets = overconfident()

    temperature = fit_temperature(logits, targets)

    right, before, after = logits.argmax(1) == targets, softmax(logits).max(1), softmax(logits / temperature).max(1)
    assert 2.7 < temperature < 3.3
    assert expected_calibration_error(after, right) < 0.03 < expected_calibration_error(before, right)
    assert sum(count for _, _, count in reliability(before, right)) == len(targets)


def test_chance_in_twenty_images_is_not_a_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, (200, 20)).astype(np.float32)
    calibrated = [rng.random(20) < row for row in confidence]
    overconfident = [rng.random(20) < row - 0.4 for row in confidence]

    def refused(labels: list) -> float:
        errors = [expected_calibration_error(row, right) for row, right in zip(confidence, labels, strict=True)]
        assert np.mean(np.array(errors) > 0.15) > 0.6  # by the figure alone
        return np.mean([chance_of_error(error, row) <= 0.05 for error, row in zip(errors, confidence, strict=True)])

    assert refused(calibrated) < 0.08
    assert refused(overconfident) > 0.8


def test_correct_predictions_alone_still_give_a_finite_temperature():
    logits = np.array([[9.0, -9.0], [-9.0, 9.0]], np.float32)

    assert 0.05 <= fit_temperature(logits, np.array([0, 1])) <= 20
