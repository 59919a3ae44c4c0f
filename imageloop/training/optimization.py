"""What changes a model's weights: AdamW, a warm-up and then a cosine, and the moving average of the weights that is kept in their place.

Sources: Smith and Topin, Super-Convergence (one cycle), 2018; Bao et al., BEiT (decay of the learning rate by layer), 2022; Polyak and Juditsky,
Acceleration of stochastic approximation by averaging, 1992.
"""

from typing import Any

import torch
from torch import Tensor, nn

from imageloop.model.backbones import blocks_of
from imageloop.model.network import Classifier
from imageloop.training.loop_settings import LoopOnImages, LoopSettings

WARM_UP = 0.15  # of the steps


class Optimization:
    """The optimizer and schedule of one training, and the moving average of its weights where the loop keeps one."""

    def __init__(self, model: nn.Module, settings: LoopSettings, num_steps: int) -> None:
        self._model = model
        groups = parameter_groups(model, settings)
        self._optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        peaks = [group["lr"] for group in self._optimizer.param_groups]
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, peaks, total_steps=num_steps, pct_start=WARM_UP)
        self._average = _moving_average(model, settings.ema_decay)

    @property
    def result(self) -> nn.Module:
        """The model to validate and to keep: with the moving average of the weights, or as it is trained."""
        return self._model if self._average is None else self._average.module

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of the loss of a batch."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
        self._optimizer.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update(self._model, self._schedule.last_epoch)  # counted in steps

    def state_dict(self) -> dict[str, Any]:
        """Everything that a training needs to go on."""
        average = {} if self._average is None else {"average": self._average.module.state_dict()}
        return average | {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._model.load_state_dict(saved["model"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._schedule.load_state_dict(saved["schedule"])
        if self._average is not None:
            self._average.module.load_state_dict(saved["average"])


def parameter_groups(model: nn.Module, settings: LoopSettings) -> list[dict[str, Any]]:
    """The trained parameters with their learning rates: the head's, then those of each block, from the last one to the first."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decay = settings.layer_decay if isinstance(settings, LoopOnImages) else 1.0
    if decay == 1 or not isinstance(model, Classifier):
        return [{"params": trained, "lr": settings.learning_rate}]
    blocks = [list(block.parameters()) for block in reversed(blocks_of(model.features))]
    in_blocks = {id(parameter) for block in blocks for parameter in block}
    stem = [parameter for parameter in model.features.parameters() if id(parameter) not in in_blocks]
    parts = [list(model.head.parameters()), *blocks, stem]
    return [
        {"params": own, "lr": settings.learning_rate * decay**distance}
        for distance, part in enumerate(parts)
        if (own := [parameter for parameter in part if parameter.requires_grad])
    ]


def _moving_average(model: nn.Module, decay: float) -> Any:
    """timm's average, whose decay grows from nothing: a short training is not held back by its first weights."""
    if not decay:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay, use_warmup=True)
