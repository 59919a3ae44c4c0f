"""Calibrate the probabilities with temperature scaling."""

from typing import Annotated

from zenml import step

from imageloop.promotion.calibration import expected_calibration_error, fit_temperature
from imageloop.promotion.step_artifacts import Calibration
from imageloop.training.trained_model import TrainedModel
from materializers.json_record import RecordMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"calibration": RecordMaterializer})
def calibrate(trained_model: TrainedModel) -> Annotated[Calibration, "calibration"]:
    """Fit one temperature on the validation split."""
    from scipy.special import softmax

    logits, targets = trained_model.validation_logits_NK, trained_model.validation_targets_N
    temperature = fit_temperature(logits, targets)
    right = logits.argmax(1) == targets
    before, after = (expected_calibration_error(softmax(logits / t, axis=1).max(1), right) for t in (1.0, temperature))
    return Calibration(temperature=temperature, error_before=before, error_after=after)
