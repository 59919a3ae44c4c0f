"""Retained images of labelled predictions, decrypted in memory: they train and judge what embeddings cannot, the last blocks of a backbone.

Shapes: N images of S x S pixels.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imageloop.data.preprocessing import UInt8Array, preprocess
from imageloop.errors import ImageLoopError
from imageloop.model.predictor import SERVED
from imageloop.promotion.drift_reference import not_fitted_on
from imageloop.records.retained_images import RetainedImage, identity_of, images_by_request, read_image
from imageloop.training.feedback_data import FeedbackData, with_image
from imageloop.training.feedback_images import FeedbackImages, SeenImages
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImagesByRequest:
    """The retained images of a deployment by request id, and the file of the key that decrypts them."""

    held: dict[str, RetainedImage]
    identity: Path

    @classmethod
    def of(cls, records: Path | None, workspace: Workspace) -> "ImagesByRequest":
        """Those below the records of a deployment; none where this machine does not have these."""
        return cls(images_by_request(records) if records is not None else {}, identity_of(workspace.keys))

    def known(self, request_ids: Collection[str]) -> list[str]:
        """Which of these requests have an image here, in their order; none without the key."""
        return [name for name in request_ids if name in self.held] if self.identity.exists() else []

    def read(self, request_ids: Sequence[str], side: int) -> UInt8Array:
        """The images as the model sees them, (N, S, S, 3) uint8.

        Raises: ImageLoopError for an image that is gone, or for another key.
        """
        images_NSSC = np.empty((len(request_ids), side, side, 3), np.uint8)
        for place, name in enumerate(request_ids):
            if name not in self.held:
                raise ImageLoopError(
                    f"expected the retained image of the request '{name}', got none: it was removed meanwhile; run the retraining again"
                )
            images_NSSC[place] = preprocess(read_image(name, self.held[name].file, self.identity), side, SERVED)
        return images_NSSC


def images_that_train(
    feedback: FeedbackData, class_names: list[str], side: int, images: ImagesByRequest
) -> FeedbackImages | None:
    """The images of labelled predictions that train and validate the last blocks; None where a head alone is trained.

    Raises: ImageLoopError for an image that is gone, or for another key.
    """
    if not feedback.trains_blocks:
        return None
    train, validation = (with_image(feedback.of_role(role)) for role in ("train", "validation"))
    places = {name: place for place, name in enumerate(class_names)}
    logger.info("%d retained images train the last blocks, %d validate them", len(train), len(validation))
    return FeedbackImages(
        images.read(train["request_id"].tolist(), side),
        train["ground_truth"].map(places).to_numpy(np.int64),
        images.read(validation["request_id"].tolist(), side),
    )


def images_that_judge(feedback: FeedbackData, side: int, images: ImagesByRequest) -> tuple[SeenImages, SeenImages] | None:
    """The images of held-back labels, and of the newest predictions that trained nothing; None where a head alone is trained.

    Raises: ImageLoopError for an image that is gone, or for another key.
    """
    if not feedback.trains_blocks:
        return None
    recent = not_fitted_on(feedback)
    tables = with_image(feedback.evaluating()), recent[recent["request_id"].isin(images.known(recent["request_id"]))]
    held_back, newest = (SeenImages(table, images.read(table["request_id"].tolist(), side)) for table in tables)
    return held_back, newest
