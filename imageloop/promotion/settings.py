"""Settings of promotion: export, gates, approval."""

from typing import Literal

from pydantic import Field

from imageloop.settings import Settings


class ExportSettings(Settings):
    """Settings of the files in the package."""

    int8: bool = Field(True, description="an int8 model beside the exact one, only if it passes its gate")
    int8_max_accuracy_loss: float = Field(
        0.01,
        ge=0,
        le=1,
        description="by the probability of the right class on the validation images; the upper end of its 95 % interval counts",
    )
    int8_min_agreement: float = Field(
        0.98, ge=0, le=1, description="share of validation images with the same label; fails if the shortfall is more than chance"
    )
    fp16: bool = Field(False, description="an fp16 model for GPUs beside the exact one, only if it passes the same gate as int8")
    num_calibration_images: int = Field(
        64, ge=8, description="training images that set the ranges of the int8 model; more change nothing"
    )
    max_test_images: int = Field(
        500, ge=0, description="test images in the package, with which a rollout compares versions; without them it needs labels"
    )
    thumbnails: int = Field(
        0,
        ge=0,
        le=2000,
        description="training images of which the package holds thumbnails: the page shows those that resemble an image; 0: the package shows none",
    )


class GateSettings(Settings):
    """Thresholds for metrics on the test images, with the exported files."""

    min_accuracy: float | None = Field(
        None, ge=0, le=1, description="by default the share of the largest class, which must be beaten by more than chance"
    )
    min_class_recall: float = Field(
        0.5, ge=0, le=1, description="minimum of each class; fails if the shortfall is more than chance"
    )
    max_calibration_error: float = Field(0.15, ge=0, le=1, description="fails if the excess is more than chance")
    max_package_megabytes: float = Field(200.0, gt=0)
    max_milliseconds_per_image: float = Field(100.0, gt=0, description="time of the model alone, on this machine")
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
        description="passed if proved not worse than the champion by more than this on the same images, with 95 % confidence; refused if proved "
        "worse; between, the accuracy may not be lower, else approval is needed",
    )


class PromotionSettings(Settings):
    model_name: str = Field("imageloop", pattern=r"^[\w-]+$", description="the name in the registry")
    approval: Literal["automatic", "manual"] = "automatic"
    export: ExportSettings = ExportSettings()
    gates: GateSettings = GateSettings()
