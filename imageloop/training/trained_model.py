"""The result of a training; importing it does not import torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imageloop.training.classification_metrics import ClassificationScores
from imageloop.training.settings import TrainingSettings

if TYPE_CHECKING:
    from imageloop.model.network import Classifier


@dataclass(frozen=True)
class EpochReport:
    """The results of one epoch; the losses are means a row. `of_images`: whether more than a head was trained, on images."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation: ClassificationScores
    of_images: bool = False


@dataclass(frozen=True)
class TeacherScore:
    """The share of the validation images that a teacher predicts right, and its time for one image on this machine."""

    backbone: str
    validation_accuracy: float
    milliseconds: float


@dataclass(frozen=True)
class TrainedModel:
    """`state`: tensors by name, the whole classifier's, or only the head's where the backbone stayed frozen (`head_only`).

    The validation rows are those of the images, then those of labelled predictions. `rehearsal_weight`: of all rehearsed copies that
    trained the head, beside all images.
    """

    settings: TrainingSettings
    class_names: list[str]
    state: dict[str, Any]
    head_only: bool
    history: list[EpochReport]
    best_epoch: int
    validation_logits_NK: NDArray[np.float32]
    validation_targets_N: NDArray[np.int64]
    teacher: TeacherScore | None = None
    rehearsal_weight: float = 0.0

    def build(self, backbones: Path) -> "Classifier":
        """The torch model, in evaluation mode. `backbones`: the folder with weights of the user's own."""
        from imageloop.training.new_classifier import new_classifier

        model = new_classifier(self.settings, len(self.class_names), backbones)
        model.load_state_dict(self.state, strict=not self.head_only)
        return model.eval()
