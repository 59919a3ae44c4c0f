"""What a model must show before it may serve."""

from typing import Literal

from pydantic import Field

from imageloop.settings import Settings


class ExportSettings(Settings):
    """Which files the package holds."""

    int8: bool = Field(True, description="a quantised model beside the exact one, kept only if it passes its gate")
    int8_max_accuracy_loss: float = Field(0.005, ge=0, le=1, description="on the validation pictures")
    int8_min_agreement: float = Field(0.98, ge=0, le=1, description="share of validation pictures with the same answer")
    num_calibration_pictures: int = Field(
        64, ge=8, description="training pictures that set the ranges of the quantised model; more change nothing"
    )


class GateSettings(Settings):
    """Every figure is measured on the test pictures, with the exported files."""

    min_accuracy: float = Field(0.7, ge=0, le=1, description="below this a model helps nobody")
    min_class_recall: float = Field(0.5, ge=0, le=1, description="no class may be given up; fails where that is more than chance")
    max_calibration_error: float = Field(0.15, ge=0, le=1, description="fails where that is more than chance")
    max_package_megabytes: float = Field(200.0, gt=0)
    max_milliseconds_per_picture: float = Field(100.0, gt=0, description="of model time, on this machine")
    recent_p_value: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="of the sign test that a retrained model is better where the service was corrected, over all attempts against one champion",
    )
    champion_margin: float = Field(
        0.01,
        ge=0,
        le=1,
        description="refused if worse than the champion by more than this, with 95 % confidence, on the same pictures",
    )


class PromotionSettings(Settings):
    model_name: str = Field("imageloop", pattern=r"^[\w-]+$", description="the name in the registry")
    approval: Literal["automatic", "manual"] = "automatic"
    export: ExportSettings = ExportSettings()
    gates: GateSettings = GateSettings()
