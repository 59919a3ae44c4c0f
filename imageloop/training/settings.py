"""Which model is fitted, and how."""

from typing import Annotated, Literal

from pydantic import Field

from imageloop.settings import Settings
from imageloop.training.devices import Wanted

BACKBONE_SIDES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}


AtLeastOne = Annotated[int, Field(ge=1)]
AboveZero = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Times = Annotated[float, Field(gt=0, le=10)]


class LoopSettings(Settings):
    """What any fitting needs; it stops when the validation loss has not fallen for `patience_epochs`."""

    max_epochs: AtLeastOne
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: AboveZero
    weight_decay: Annotated[float, Field(ge=0)]
    patience_epochs: AtLeastOne


class HeadLoop(LoopSettings):
    max_epochs: AtLeastOne = 40
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: AboveZero = 3e-3  # AdamW on features of norm about 15: falls fast, does not jump
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    patience_epochs: AtLeastOne = 8


class NetworkLoop(LoopSettings):
    max_epochs: AtLeastOne = 60
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: AboveZero = 2e-3  # peak of the one-cycle schedule
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    patience_epochs: AtLeastOne = 12


class FineTuneLoop(LoopSettings):
    max_epochs: AtLeastOne = 6
    batch_size: Annotated[int, Field(ge=2)] = 16
    learning_rate: AboveZero = 1e-4  # the blocks know much already; a larger step forgets it
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    patience_epochs: AtLeastOne = 2


class BaselineCnn(Settings):
    """A small network trained from scratch: what the pictures alone give."""

    kind: Literal["baseline_cnn"] = "baseline_cnn"
    side_pixels: int = Field(112, ge=32, le=512, description="a quarter of the pixels for four times the epochs in the same time")
    channels: tuple[int, ...] = Field((24, 48, 96, 192), min_length=2, description="of each stage; each halves the picture")
    dropout: float = Field(0.2, ge=0, lt=1)
    max_minutes: float = Field(10.0, gt=0, description="stop then, with the best weights so far")
    loop: NetworkLoop = NetworkLoop()


class Transfer(Settings):
    """A backbone that knows ImageNet, with a head trained on its features."""

    kind: Literal["transfer"] = "transfer"
    backbone: str = Field(
        "efficientnet_lite0",
        pattern=r"^[a-z0-9_.]+$",
        description="efficientnet_lite0, 1 or 2 come with their weights; any other name is timm's and downloads them",
    )
    side_pixels: int | None = Field(None, ge=32, le=1024, description="by default the backbone's own")
    flipped_views: bool = Field(True, description="mirrored pictures as further training rows")
    experience_weight: int = Field(
        4, ge=1, le=100, description="times that a labelled answer counts: a changed world is rare among old pictures"
    )
    fine_tune_blocks: int = Field(
        0, ge=0, description="how many of the last blocks are trained too, by pictures alone; 0 keeps the backbone frozen"
    )
    loop: HeadLoop = HeadLoop()
    fine_tune: FineTuneLoop = FineTuneLoop()


Model = Annotated[Transfer | BaselineCnn, Field(discriminator="kind")]


class TrainingSettings(Settings):
    model: Model = Transfer()
    seed: int = Field(7, ge=0)
    class_weights: bool = Field(True, description="rare classes weigh more, so that they are not given up for the common ones")
    device: Wanted = Field("auto", description="auto takes a GPU where there is one that PyTorch can use")

    @property
    def side_pixels(self) -> int:
        """The side of the square that the model sees."""
        if self.model.side_pixels is not None:
            return self.model.side_pixels
        return BACKBONE_SIDES.get(self.model.backbone, 224) if isinstance(self.model, Transfer) else 224

    @property
    def label_backbone(self) -> str:
        """Whose features judge the labels: a transferred model's own, whose are known already, else the default's."""
        return self.model.backbone if isinstance(self.model, Transfer) else Transfer().backbone


class Imitation(Settings):
    """A change of the world by its statistics: what the mean of each became, in times of what it was."""

    brightness: Times = 1.0
    contrast: Times = 1.0
    sharpness: Times = 1.0
    saturation: Times = 1.0


class ExperienceSettings(Settings):
    """What a retraining takes from the records of the model that serves."""

    enabled: bool = Field(False, description="off for a training by hand: only pictures count")
    database: str | None = Field(None, description="a URL, as `monitoring.database`; the watch fills in its own")
    max_labels: int = Field(2000, ge=20, description="the newest")
    min_labels: int = Field(
        60, ge=10, description="one a scene; of fewer, those that judge hardly ever show a gain by more than chance"
    )
    held_back: Share = Field(0.3, description="share of the labels that judge the new model and teach it nothing")
    reference_answers: int = Field(200, ge=50, le=400, description="of the newest, what the next drift is measured against")
    max_per_source: int = Field(1000, ge=1, description="labels from one source: nobody alone may turn a model round")
    min_label_quality: Share = Field(0.2, description="probability of the given label by models that have not seen it")
    imitation: Imitation | None = Field(
        None, description="learn from changed copies of the pictures, and from no label; a watch that may do so fills it in"
    )
    max_quarantined: Share = Field(0.25, description="with more suspicious labels than this, all of them wait for a person")

    @property
    def fewest_scenes(self) -> float:
        """Of which something can be learnt: of `min_labels` so many may be quarantined."""
        return self.min_labels * (1 - self.max_quarantined)
