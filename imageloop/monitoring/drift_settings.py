"""Settings of the drift test: its windows, and the threshold of an alarm."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from imageloop.settings import Settings

Share = Annotated[float, Field(gt=0, lt=1)]


class DriftSettings(Settings):
    """Settings of the drift test."""

    window: int = Field(
        100, ge=20, description="consecutive predictions of one window; 25 show blur, 100 nearly every other change"
    )
    false_alarm_rate: Share = Field(0.05, description="share of unchanged windows with an alarm, over all feature groups")
    components: int = Field(32, ge=2, description="leading components of the embedding, which have nearly all of its variance")
    permutations: int = Field(1000, ge=100, description="for small p-values: 20 divided by the false alarm rate at least")
    max_compared: int = Field(
        400, ge=50, description="predictions of a window that are compared, evenly spaced: time grows with the square"
    )

    @model_validator(mode="after")
    def _has_enough_permutations(self) -> Self:
        if self.permutations * self.false_alarm_rate < 20:
            raise ValueError(f"expected at least {20 / self.false_alarm_rate:.0f} permutations for so few false alarms")
        return self
