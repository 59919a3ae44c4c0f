"""Settings of training: model, loop, device, feedback data."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from imageloop.model.package import JOINED_BY
from imageloop.settings import Settings
from imageloop.training.devices import DeviceChoice

BACKBONE_SIDES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
DEFAULT_SIDE = 224
RETRAINED_BLOCKS = 2  # the last ones, where images of labelled predictions train them


AtLeastOne = Annotated[int, Field(ge=1)]
AboveZero = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Times = Annotated[float, Field(gt=0, le=10)]


class LoopSettings(Settings):
    """Settings of a training loop; it stops when the validation loss has not fallen for `patience_epochs`."""

    max_epochs: AtLeastOne
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: AboveZero
    weight_decay: Annotated[float, Field(ge=0)]
    patience_epochs: AtLeastOne
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of a label that is spread over all classes")


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
    """A small network that is trained from scratch."""

    kind: Literal["baseline_cnn"] = "baseline_cnn"
    side_pixels: int = Field(112, ge=32, le=512, description="a quarter of the pixels for four times the epochs in the same time")
    channels: tuple[int, ...] = Field((24, 48, 96, 192), min_length=2, description="of each stage; each halves the image")
    dropout: float = Field(0.2, ge=0, lt=1)
    max_minutes: float = Field(10.0, gt=0, description="stop then, with the best weights so far")
    loop: NetworkLoop = NetworkLoop()


def _joined(names: object) -> object:
    return JOINED_BY.join(names) if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names) else names


class Transfer(Settings):
    """Transfer learning: a head on the features of a backbone that was trained on ImageNet."""

    kind: Literal["transfer"] = "transfer"
    backbone: Annotated[str, BeforeValidator(_joined)] = Field(
        "efficientnet_lite0",
        pattern=r"^[a-z0-9_.]+(\+[a-z0-9_.]+)*$",
        description="efficientnet_lite0, 1 or 2 come with their weights; any other name is timm's, whose weights are downloaded; several "
        "together as a list or joined by +",
    )
    side_pixels: int | None = Field(None, ge=32, le=1024, description="by default the backbone's own")
    flipped_views: bool = Field(True, description="mirrored images as further training rows")
    feedback_weight: int = Field(
        4, ge=1, le=100, description="weight of a labelled prediction beside an image: labels after a change are few"
    )
    fine_tune_blocks: int = Field(
        0, ge=0, description="how many of the last blocks are trained too, on images; 0 keeps the backbone frozen"
    )
    loop: HeadLoop = HeadLoop()
    fine_tune: FineTuneLoop = FineTuneLoop()


Model = Annotated[Transfer | BaselineCnn, Field(discriminator="kind")]


class TrainingSettings(Settings):
    model: Model = Transfer()
    seed: int = Field(7, ge=0)
    class_weights: bool = Field(True, description="rare classes get a larger weight in the loss")
    device: DeviceChoice = Field("auto", description="auto uses a GPU if PyTorch can use one")

    @property
    def side_pixels(self) -> int:
        """The side of the square that the model sees."""
        if self.model.side_pixels is not None:
            return self.model.side_pixels
        return max(BACKBONE_SIDES.get(name, DEFAULT_SIDE) for name in self.model.backbone.split(JOINED_BY))

    @property
    def label_backbone(self) -> str:
        """Name the backbone whose features judge labels: that of the transferred model, whose features exist already, else the default."""
        return self.model.backbone if isinstance(self.model, Transfer) else Transfer().backbone


class DriftAugmentation(Settings):
    """A change of the images, by the factor of each mean statistic."""

    brightness: Times = 1.0
    contrast: Times = 1.0
    sharpness: Times = 1.0
    saturation: Times = 1.0


class FeedbackSettings(Settings):
    """Settings of the feedback data of a retraining."""

    enabled: bool = Field(False, description="off for a training by hand, which uses images alone")
    database: str | None = Field(None, description="a URL, as `monitoring.database`; the monitor fills in its own")
    max_labels: int = Field(2000, ge=20, description="the newest")
    min_labels: int = Field(60, ge=10, description="one a scene; fewer can hardly show a gain beyond chance")
    held_back: Share = Field(0.3, description="share of the labels that evaluate the new model and do not train it")
    reference_predictions: int = Field(200, ge=50, le=400, description="of the newest, as the reference of the retrained model")
    max_per_source: int = Field(1000, ge=1, description="maximum of one source: no single source may dominate")
    min_label_quality: Share = Field(0.2, description="minimum probability of the label by models that have not seen it")
    drift_augmentation: DriftAugmentation | None = Field(
        None, description="train on changed copies of images, without labels; the monitor fills it in"
    )
    max_quarantined: Share = Field(
        0.25, description="with a larger share of labels from sources that may be poisoned, all await approval"
    )
    deployment: str = Field(
        "",
        description="namespace/name of the deployment whose retained images may train the last blocks; the monitor fills in its own",
    )
    fine_tune_minutes: float = Field(
        20.0,
        ge=0,
        description="time for the last blocks, where a head is not expected to be enough and images were retained; 0: never",
    )
    max_contradicted: Share = Field(
        0.5,
        description="with a larger share of labels that models contradict, all await approval as unconfirmed; after drift honest ones are contradicted too",
    )

    @property
    def fewest_scenes(self) -> float:
        """The minimum of scenes after quarantine: of `min_labels` a share may be quarantined."""
        return self.min_labels * (1 - self.max_quarantined)
