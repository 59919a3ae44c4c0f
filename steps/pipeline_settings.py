"""The settings of each pipeline, as the files under configs/ set them."""

from typing import Self

from pydantic import Field, model_validator

from imageloop.data.settings import DataSettings
from imageloop.monitoring.settings import MonitoringSettings
from imageloop.promotion.settings import PromotionSettings
from imageloop.settings import Settings
from imageloop.training.settings import FeedbackSettings, TrainingSettings
from imageloop.tuning.settings import SearchSettings
from seldon.delivery.clusters.settings import ClusterSettings
from seldon.delivery.rollouts.settings import Canary, DeploySettings, Strategy


class TrainSettings(Settings):
    """The settings of `python run.py train`; each value has a default."""

    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()
    feedback: FeedbackSettings = FeedbackSettings()


class TuneSettings(Settings):
    """The settings of `python run.py tune`; `training` is where the search begins, and what it leaves as it is."""

    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()
    search: SearchSettings = SearchSettings()

    def of_training(self, training: TrainingSettings) -> TrainSettings:
        """The settings of a training with what the search found."""
        return TrainSettings(data=self.data, training=training, promotion=self.promotion)


class UnattendedRollout(DeploySettings):
    """Rolls a retrained version out unattended, so never without observation."""

    strategy: Strategy = Canary()


class MonitorSettings(Settings):
    """Everything that `python run.py watch` and `monitor` go by."""

    interval_seconds: float = Field(60.0, gt=0, description="from the start of one monitoring run to the start of the next")
    max_passes: int | None = Field(None, ge=1, description="stop after so many; by default never")
    monitoring: MonitoringSettings = MonitoringSettings()
    training: TrainSettings = Field(
        TrainSettings(), description="settings of a retraining; unset values of `data` and `training` are those of the champion"
    )
    rollout: UnattendedRollout = UnattendedRollout()

    def on(self, cluster: ClusterSettings) -> Self:
        """These settings with the namespace and the container image of a stack's cluster, where they name none."""
        rollout = self.rollout.on(cluster)
        monitoring = self.monitoring.model_copy(update={"deployment": f"{rollout.namespace}/{rollout.name}"})
        return self.model_copy(update={"rollout": rollout, "monitoring": monitoring})

    @model_validator(mode="after")
    def _is_about_one_model(self) -> Self:
        names = {self.monitoring.model_name, self.training.promotion.model_name, self.rollout.model_name}
        if len(names) > 1:
            raise ValueError(
                "expected one model in monitoring.model_name, training.promotion.model_name and rollout.model_name, "
                f"got {', '.join(sorted(names))}"
            )
        if self.monitoring.deployment != f"{self.rollout.namespace}/{self.rollout.name}":
            raise ValueError(
                f"expected the monitored deployment to be the one that is rolled out, got monitoring.deployment {self.monitoring.deployment} "
                f"and rollout {self.rollout.namespace}/{self.rollout.name}"
            )
        return self
