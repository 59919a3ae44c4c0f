"""Settings of a search: its budget and its space."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from imageloop.settings import Settings

Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


class SearchSpace(Settings):
    """What a trial may be. A pair is the lowest and the highest value, everything else a list of choices."""

    backbones: tuple[str, ...] = Field(
        (*LITE, "+".join(LITE)), min_length=1, description="each frozen, its features computed once; several together joined by +"
    )
    learning_rate: tuple[Rate, Rate] = Field((5e-4, 2e-2), description="of a head; drawn on a logarithmic scale")
    weight_decay: tuple[Rate, Rate] = Field((1e-4, 3e-1), description="of a head; drawn on a logarithmic scale")
    label_smoothing: tuple[Share, Share] = (0.0, 0.2)
    flipped_views: tuple[bool, ...] = Field((True, False), min_length=1)
    fine_tune_blocks: tuple[int, ...] = Field(
        (99,),
        description="numbers of last blocks that trials fine-tune on images after the heads; more than there are means all; empty for none",
    )
    fine_tune_learning_rate: tuple[Rate, Rate] = Field(
        (5e-5, 1e-3), description="drawn on a logarithmic scale; of adapters ten times that"
    )
    lora_rank: tuple[int, ...] = Field(
        (0,), min_length=1, description="of low-rank adapters of these blocks; 0 trains their weights"
    )
    mixup_alpha: tuple[float, ...] = Field((0.0, 0.2), min_length=1, description="while blocks are fine-tuned; 0: no mixup")
    layer_decay: tuple[float, ...] = Field((1.0, 0.8), min_length=1, description="of the learning rate from block to block")
    ema_decay: tuple[float, ...] = Field(
        (0.0, 0.99), min_length=1, description="while blocks are fine-tuned; 0: no moving average"
    )

    @model_validator(mode="after")
    def _has_ranges(self) -> Self:
        for name in ("learning_rate", "weight_decay", "label_smoothing", "fine_tune_learning_rate"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"expected {name} from the lowest to the highest value, got {low:g}, {high:g}")
        return self


class SearchSettings(Settings):
    """The budget of a search; it ends with whichever of its limits comes first."""

    trials: int = Field(30, ge=1, description="of heads on frozen features; the first is the training without a search")
    fine_tune_trials: int = Field(
        2, ge=0, description="after them, on images: minutes each, of the best backbone that stands alone"
    )
    minutes: float | None = Field(30.0, gt=0, description="no trial begins later, and fine-tuning ends then")
    max_milliseconds: float | None = Field(
        None, gt=0, description="of one image on this machine, all cores; what is slower does not win"
    )
    storage: str | None = Field(None, description="a database URL of Optuna's; by default SQLite below the site's state")
    study: str | None = Field(None, description="a name of the study; by default made of model, data and space")
    seed: int = Field(7, ge=0)
    space: SearchSpace = SearchSpace()
