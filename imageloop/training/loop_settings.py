"""Settings of the training loops, and of what they train: adapters, a student of a teacher.

Sources: mixup, Zhang et al., 2018; CutMix, Yun et al., 2019; decay of the learning rate by layer, Bao et al. (BEiT), 2022; LoRA, Hu et al., 2022;
distillation, Hinton et al., 2015, with the same augmented images for both, Beyer et al., 2022.
"""

from typing import Annotated

from pydantic import Field

from imageloop.settings import Settings

AtLeastOne = Annotated[int, Field(ge=1)]
AboveZero = Annotated[float, Field(gt=0)]


class LoopSettings(Settings):
    """Settings of a training loop; it stops when the validation loss has not fallen for `patience_epochs`."""

    max_epochs: AtLeastOne
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: AboveZero
    weight_decay: Annotated[float, Field(ge=0)]
    patience_epochs: AtLeastOne
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label that is spread over all classes")
    ema_decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="the exponential moving average of the weights is validated and kept; 0: the weights themselves",
    )


class HeadLoop(LoopSettings):
    max_epochs: AtLeastOne = 40
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: AboveZero = 3e-3  # AdamW on features of norm about 15: falls fast, does not jump
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    patience_epochs: AtLeastOne = 8


class LoopOnImages(LoopSettings):
    """A loop on augmented images."""

    mixup_alpha: float = Field(0.0, ge=0, description="of the Beta distribution of two images' shares in one; 0: no mixup")
    cutmix_alpha: float = Field(
        0.0,
        ge=0,
        description="of the Beta distribution of the area that another image fills; 0: no CutMix; with mixup one of both a batch",
    )
    layer_decay: float = Field(1.0, gt=0, le=1, description="factor of the learning rate from one block to the one before it")


class NetworkLoop(LoopOnImages):
    max_epochs: AtLeastOne = 60
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: AboveZero = 2e-3  # peak of the one-cycle schedule
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    patience_epochs: AtLeastOne = 12


class FineTuneLoop(LoopOnImages):
    max_epochs: AtLeastOne = 6
    batch_size: Annotated[int, Field(ge=2)] = 16
    learning_rate: AboveZero = 1e-4  # the blocks know much already; a larger step forgets it
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    patience_epochs: AtLeastOne = 2


class Lora(Settings):
    """Low-rank adapters of the linear layers and of the convolutions that are not depthwise, by `peft`."""

    rank: int = Field(8, ge=1, le=256)
    alpha: int = Field(16, ge=1, description="an adapter's output is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)


class Distillation(Settings):
    """A teacher: a head on one or several frozen backbones, trained first on the same images. What is served is the student alone."""

    teacher: Annotated[str, Field(pattern=r"^[a-z0-9_.]+(\+[a-z0-9_.]+)*$")] = Field(
        "efficientnet_lite0+efficientnet_lite1+efficientnet_lite2", description="its backbones, joined by +"
    )
    weight: float = Field(0.5, gt=0, le=1, description="of the teacher's predictions in the loss; the labels have the rest")
    temperature: float = Field(2.0, gt=0, le=20, description="by which both logits are divided before they are compared")
