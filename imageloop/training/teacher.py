"""Knowledge distillation: a head on large or joined frozen backbones teaches the network that is served.

Both see the same augmented images. Sources: Hinton et al., 2015; Beyer et al., Knowledge distillation: a good teacher is patient and consistent, 2022.

Shapes: B images a batch of S x S pixels, K classes.
"""

import logging
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from imageloop.training.backbone_speed import milliseconds_of_image
from imageloop.training.features import FeatureExtractor
from imageloop.training.loop_settings import Distillation
from imageloop.training.trained_model import TeacherScore, TrainedModel
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


class Teacher:
    """A trained head on frozen backbones, and how much it counts."""

    def __init__(
        self, trained: TrainedModel, extractor: FeatureExtractor, settings: Distillation, side: int, workspace: Workspace
    ) -> None:
        self._extractor, self._head, self._settings = extractor, trained.state, settings
        self._milliseconds_of = partial(milliseconds_of_image, side=side, workspace=workspace)
        accuracy = trained.history[trained.best_epoch].validation.accuracy
        self.score = TeacherScore(settings.teacher, accuracy, self._milliseconds_of(settings.teacher))

    def report(self, accuracy: float, backbone: str) -> None:
        """Log what the student reached on the validation images, beside its teacher."""
        logger.info(
            "the student predicts %.1f %% of the validation images right, in %.1f ms each; its teacher %.1f %% in %.1f ms",
            100 * accuracy, self._milliseconds_of(backbone), 100 * self.score.validation_accuracy, self.score.milliseconds,
        )  # fmt: skip

    def loss(self, images_BSSC: Tensor, logits_BK: Tensor, loss_of_labels: Tensor) -> Tensor:
        """The loss of a batch: that of the labels, and the divergence from the teacher's predictions, by their weights."""
        temperature, weight = self._settings.temperature, self._settings.weight
        ours_BK = (logits_BK / temperature).log_softmax(1)
        theirs_BK = (self._logits(images_BSSC).to(logits_BK.device) / temperature).log_softmax(1)
        divergence = functional.kl_div(ours_BK, theirs_BK, reduction="batchmean", log_target=True)
        return (1 - weight) * loss_of_labels + weight * temperature**2 * divergence

    def _logits(self, images_BSSC: Tensor) -> Tensor:
        embeddings_BD = torch.from_numpy(self._extractor.run(np.ascontiguousarray(images_BSSC.cpu().numpy())))
        return functional.linear(embeddings_BD, self._head["head.weight"], self._head["head.bias"])
