"""What each file under configs/ may say."""

from typing import Self

from pydantic import Field, model_validator

from imageloop.data.settings import DataSettings
from imageloop.monitoring.settings import MonitoringSettings
from imageloop.promotion.settings import PromotionSettings
from imageloop.settings import Settings
from imageloop.training.settings import ExperienceSettings, TrainingSettings
from seldon.delivery.rollouts.settings import Canary, DeploySettings, Strategy


class TrainSettings(Settings):
    """Everything that `python run.py train` goes by; each value has a default."""

    data: DataSettings = DataSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()
    experience: ExperienceSettings = ExperienceSettings()


class UnattendedRollout(DeploySettings):
    """How a retrained version takes over: with nobody at hand, never without being watched."""

    strategy: Strategy = Canary()


class WatchSettings(Settings):
    """Everything that `python run.py watch` and `monitor` go by."""

    interval_seconds: float = Field(60.0, gt=0, description="from the start of one look to the start of the next")
    max_passes: int | None = Field(None, ge=1, description="stop after so many; by default never")
    monitoring: MonitoringSettings = MonitoringSettings()
    training: TrainSettings = Field(
        TrainSettings(), description="how to retrain; of `data` and `training`, what is not said here is what made the champion"
    )
    rollout: UnattendedRollout = UnattendedRollout()

    @model_validator(mode="after")
    def _is_about_one_model(self) -> Self:
        names = {self.monitoring.model_name, self.training.promotion.model_name, self.rollout.model_name}
        if len(names) > 1:
            raise ValueError(
                "wanted one model in monitoring.model_name, training.promotion.model_name and rollout.model_name, "
                f"found {', '.join(sorted(names))}"
            )
        if self.monitoring.deployment != f"{self.rollout.namespace}/{self.rollout.name}":
            raise ValueError(
                f"wanted what is watched to be what is rolled out, found monitoring.deployment {self.monitoring.deployment} "
                f"and rollout {self.rollout.namespace}/{self.rollout.name}"
            )
        return self
