"""Settings of training: model, loop, device, feedback data."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from imageloop.model.package import JOINED_BY, SHA_DIGITS, WEIGHTS_MARK
from imageloop.settings import Settings, absolute, is_url
from imageloop.training.devices import DeviceChoice, Precision
from imageloop.training.loop_settings import Distillation, FineTuneLoop, HeadLoop, Lora, NetworkLoop

BACKBONE_SIDES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
DEFAULT_SIDE = 224
RETRAINED_BLOCKS = 2  # the last ones, where images of labelled predictions train them

Share = Annotated[float, Field(gt=0, lt=1)]
Times = Annotated[float, Field(gt=0, le=10)]


class BaselineCnn(Settings):
    """A small network that is trained from scratch."""

    kind: Literal["baseline_cnn"] = "baseline_cnn"
    side_pixels: int = Field(112, ge=32, le=512, description="a quarter of the pixels for four times the epochs in the same time")
    channels: tuple[int, ...] = Field((24, 48, 96, 192), min_length=2, description="of each stage; each halves the image")
    dropout: float = Field(0.2, ge=0, lt=1)
    max_minutes: float = Field(10.0, gt=0, description="stop then, with the best weights so far")
    distillation: Distillation | None = Field(None, description="a teacher whose predictions are learnt beside the labels")
    loop: NetworkLoop = NetworkLoop()


def _joined(names: object) -> object:
    return JOINED_BY.join(names) if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names) else names


class WeightsFile(Settings):
    """Weights of a backbone that the user has; they are checked before they are opened."""

    source: str = Field(description="a file in the safetensors format with timm's names of tensors: a path or an http(s) URL")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the file")

    @property
    def is_url(self) -> bool:
        return is_url(self.source)

    @field_validator("source")
    @classmethod
    def absolute(cls, source: str) -> str:
        return absolute(source)


class Transfer(Settings):
    """Transfer learning: a head on the features of a backbone that was trained on ImageNet."""

    kind: Literal["transfer"] = "transfer"
    backbone: Annotated[str, BeforeValidator(_joined)] = Field(
        "efficientnet_lite0",
        pattern=r"^[a-z0-9_.]+(\+[a-z0-9_.]+)*(@[0-9a-f]{12})?$",
        description="efficientnet_lite0, 1 or 2 come with their weights; any other name is timm's, whose weights are downloaded; several "
        "together as a list or joined by +",
    )
    weights: WeightsFile | None = Field(
        None, description="weights of one backbone in the place of timm's; its name gets their hash"
    )
    side_pixels: int | None = Field(None, ge=32, le=1024, description="by default the backbone's own")
    flipped_views: bool = Field(True, description="mirrored images as further training rows")
    feedback_weight: int = Field(
        4, ge=1, le=100, description="weight of a labelled prediction beside an image: labels after a change are few"
    )
    rehearsal_weight: float = Field(
        0.2,
        ge=0,
        le=1,
        description="of all rehearsed copies (changed training images) beside all images, in trainings of a head without labelled predictions; left "
        "out with fewer than 16 training images a class, or where they cost accuracy on unchanged images; 0: none",
    )
    fine_tune_blocks: int = Field(
        0, ge=0, description="how many of the last blocks are trained too, on images; 0 keeps the backbone frozen"
    )
    lora: Lora | None = Field(
        None, description="train low-rank adapters of these blocks (LoRA) in the place of their weights, merged after training"
    )
    distillation: Distillation | None = Field(
        None, description="a teacher whose predictions are learnt beside the labels while blocks are trained"
    )
    loop: HeadLoop = HeadLoop()
    fine_tune: FineTuneLoop = FineTuneLoop()

    @model_validator(mode="before")
    @classmethod
    def _name_has_the_weights(cls, values: Any) -> Any:
        """Append the hash of the weights to the backbone's name, by which its features are stored and compared."""
        weights = values.get("weights") if isinstance(values, dict) else None
        sha256 = weights.get("sha256") if isinstance(weights, dict) else getattr(weights, "sha256", None)
        if not isinstance(sha256, str) or len(sha256) < SHA_DIGITS:
            return values  # which is refused by its own rule
        name = str(_joined(values.get("backbone", cls.model_fields["backbone"].default))).partition(WEIGHTS_MARK)[0]
        return {**values, "backbone": f"{name}{WEIGHTS_MARK}{sha256[:SHA_DIGITS]}"}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (WEIGHTS_MARK in self.backbone) is (self.weights is None):
            raise ValueError(
                f"expected weights for '{self.backbone}', got none; set model.weights.source and model.weights.sha256"
            )
        if self.weights is not None and JOINED_BY in self.backbone:
            raise ValueError(f"expected one backbone with weights of its own, got '{self.backbone}'; name one")
        for name in ("lora", "distillation"):
            if getattr(self, name) is not None and not self.fine_tune_blocks:
                raise ValueError(
                    f"expected fine_tune_blocks above 0 with {name}, which trains blocks, got 0; set it, 99 means all"
                )
        return self


Model = Annotated[Transfer | BaselineCnn, Field(discriminator="kind")]


class TrainingSettings(Settings):
    model: Model = Transfer()
    seed: int = Field(7, ge=0)
    class_weights: bool = Field(True, description="rare classes get a larger weight in the loss")
    device: DeviceChoice = Field("auto", description="auto uses a GPU if PyTorch can use one")
    workers: int = Field(
        1,
        ge=1,
        le=64,
        description="processes of a Ray cluster (RAY_ADDRESS) that train on images together, each on its share of every batch; here one",
    )
    precision: Precision = Field("fp32", description="of training on images; bf16 computes with half the bits where that is safe")

    @model_validator(mode="after")
    def _teacher_is_here(self) -> Self:
        if self.workers > 1 and self.model.distillation is not None:
            raise ValueError(
                f"expected workers=1 with distillation, whose teacher is not sent anywhere, got {self.workers}; leave one out"
            )
        return self

    @property
    def side_pixels(self) -> int:
        """The side of the square that the model sees."""
        if self.model.side_pixels is not None:
            return self.model.side_pixels
        names = [name.partition(WEIGHTS_MARK)[0] for name in self.model.backbone.split(JOINED_BY)]
        return max(BACKBONE_SIDES.get(name, DEFAULT_SIDE) for name in names)

    @property
    def backbones(self) -> set[str]:
        """The names of all backbones that a training uses: the model's, the one that judges labels, the teacher's."""
        taught_by = {self.model.distillation.teacher} if self.model.distillation else set()
        return {self.label_backbone} | taught_by

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
