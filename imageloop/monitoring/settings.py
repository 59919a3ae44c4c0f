"""Settings of the monitor: model performance, decisions, and those of drift."""

from typing import Self

from pydantic import Field, model_validator

from imageloop.monitoring.drift_settings import DriftSettings, Share
from imageloop.settings import Settings


class PerformanceSettings(Settings):
    """Model performance by the labels that come in later."""

    max_labels: int = Field(200, ge=20, description="the newest; older ones say nothing about now")
    min_labels: int = Field(30, ge=10, description="with fewer the interval is wider than any loss worth a retraining")
    max_share_wrong: Share = Field(0.8, description="more wrong predictions among few labels are complaints, not a sample")
    min_coverage: Share = Field(0.5, description="share of labelled predictions from which on they count as a sample")


class DecisionSettings(Settings):
    """When to retrain: for any reason without an objection."""

    min_accuracy: Share | None = Field(
        None,
        description="retrain when accuracy by labels is below it, by an e-value; by default the accuracy of the served version on its test "
        "images less `accuracy_margin`",
    )
    accuracy_margin: Share = Field(
        0.05,
        description="a smaller loss is no reason to retrain; raised to the half width of the interval where the test images are few",
    )
    violated_windows: int = Field(2, ge=1, description="drifted windows of `of_windows`: one alone may be a false alarm")
    of_windows: int = Field(3, ge=1)
    max_estimated_loss: Share = Field(
        0.1, description="drift that costs less accuracy by estimate only alerts; estimates err by some six points"
    )
    every_hours: float | None = Field(None, gt=0, description="retrain after so many hours; by default only for a reason")
    new_labels: int | None = Field(None, ge=10, description="retrain when so many new labels came")
    cool_down_minutes: float = Field(30.0, ge=0, description="minimum time between two retrainings")
    max_a_day: int = Field(6, ge=1, description="maximum number of retrainings; more mean that they do not help")
    drift_augmentation: bool = Field(
        False,
        description="where labels are too few, retrain on copies of images that reproduce the change",
    )
    labels_after_failure: int = Field(50, ge=1, description="new labels needed after a retraining that did not help")

    @model_validator(mode="after")
    def _windows_are_enough(self) -> Self:
        if self.violated_windows > self.of_windows:
            raise ValueError(f"expected violated_windows up to of_windows ({self.of_windows}), got {self.violated_windows}")
        return self


class MonitoringSettings(Settings):
    model_name: str = "imageloop"
    deployment: str = Field(
        "default/imageloop", pattern=r"^[a-z0-9-]+/[a-z0-9-]+$", description="namespace/name of the monitored deployment"
    )
    database: str | None = Field(None, description="a URL; by default IMAGELOOP_DATABASE, else SQLite beside the registry")
    keep_days: float = Field(90.0, gt=0, description="records older than that are removed")
    keep_records: int = Field(200_000, ge=100, description="newest records to store; each takes some 4 KB")
    drift: DriftSettings = DriftSettings()
    performance: PerformanceSettings = PerformanceSettings()
    decision: DecisionSettings = DecisionSettings()

    @property
    def place(self) -> tuple[str, str]:
        """Namespace and name of the monitored deployment."""
        namespace, _, name = self.deployment.partition("/")
        return namespace, name
