"""What is watched of a model that serves, and what follows from it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from imageloop.settings import Settings

Share = Annotated[float, Field(gt=0, lt=1)]


class DriftSettings(Settings):
    """When the pictures that arrive are no longer those that the model was made of."""

    window: int = Field(100, ge=20, description="answers in a row that are judged together; 25 show blur, 100 most of the rest")
    false_alarm_rate: Share = Field(0.05, description="of windows in which nothing has changed, over all levels together")
    components: int = Field(32, ge=2, description="of the embedding: where most of its variance is")
    permutations: int = Field(1000, ge=100, description="they tell small p-values apart: 20 divided by the rate at least")
    max_compared: int = Field(
        400, ge=50, description="answers of a window that are compared, evenly taken: time grows with the square"
    )

    @model_validator(mode="after")
    def _tells_p_values_apart(self) -> Self:
        if self.permutations * self.false_alarm_rate < 20:
            raise ValueError(f"wanted at least {20 / self.false_alarm_rate:.0f} permutations for so few false alarms")
        return self


class TruthSettings(Settings):
    """How the answers fare by the labels that come in later."""

    max_labels: int = Field(200, ge=20, description="the newest ones tell how it goes now")
    min_labels: int = Field(30, ge=10, description="fewer tell nothing: their interval is wider than any fall worth a retraining")
    max_share_wrong: Share = Field(0.8, description="more than this, of few answers, are complaints and not a sample")
    min_coverage: Share = Field(0.5, description="share of answers with a label from which on they are no mere complaints")


class DecisionSettings(Settings):
    """When to retrain: any of the reasons, unless something speaks against it."""

    min_accuracy: Share = Field(
        0.85, description="retrain when fewer answers are right, by more than chance brings however often one looks"
    )
    violated_windows: int = Field(2, ge=1, description="of `of_windows`: one alone may be a false alarm")
    of_windows: int = Field(3, ge=1)
    max_estimated_loss: Share = Field(0.02, description="drift that costs less accuracy, by estimate, alerts and changes nothing")
    every_hours: float | None = Field(None, gt=0, description="retrain on schedule; by default only for a reason")
    new_labels: int | None = Field(None, ge=10, description="retrain when so many labels wait that the model has not learnt from")
    cool_down_minutes: float = Field(30.0, ge=0, description="between two retrainings")
    max_a_day: int = Field(6, ge=1, description="retrainings: more mean that they do not help")
    imitate: bool = Field(
        False,
        description="where labels are too few, retrain on copies of the pictures in the new light, as far as that can be imitated",
    )
    labels_after_failure: int = Field(
        50, ge=1, description="new labels that a retraining needs after one that did not help: the same would come of the same"
    )

    @model_validator(mode="after")
    def _windows_are_enough(self) -> Self:
        if self.violated_windows > self.of_windows:
            raise ValueError(f"wanted violated_windows of at most of_windows ({self.of_windows}), found {self.violated_windows}")
        return self


class MonitoringSettings(Settings):
    model_name: str = "imageloop"
    deployment: str = Field("default/imageloop", pattern=r"^[a-z0-9-]+/[a-z0-9-]+$", description="namespace/name of what serves")
    database: str | None = Field(None, description="a URL; by default IMAGELOOP_DATABASE, else SQLite beside the registry")
    keep_days: float = Field(90.0, gt=0, description="records older than that are removed")
    keep_records: int = Field(200_000, ge=100, description="of the newest answers; each takes some 4 KB")
    drift: DriftSettings = DriftSettings()
    truth: TruthSettings = TruthSettings()
    decision: DecisionSettings = DecisionSettings()

    @property
    def place(self) -> tuple[str, str]:
        """Namespace and name of what serves."""
        namespace, _, name = self.deployment.partition("/")
        return namespace, name
