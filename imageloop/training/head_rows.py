"""The rows that train a head: features of images, labelled predictions, rehearsed copies.

Shapes: N rows, D features, C copies.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imageloop.background_imports import loading
from imageloop.data.array_store import ArrayStore
from imageloop.data.prepared_images import PreparedImages
from imageloop.training.batches import Drawn
from imageloop.training.features import FeatureExtractor
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.rehearsed_head import copies_that_train
from imageloop.training.settings import Transfer


@dataclass(frozen=True)
class HeadRows:
    """Features (N, D) and classes (N,). `drawn`: how many of the last ones an epoch has; `rehearsal_weight`: of all copies beside all images."""

    features_ND: NDArray[np.float32]
    targets_N: NDArray[np.int64]
    drawn: Drawn
    rehearsal_weight: float


def head_rows(
    images: PreparedImages,
    extractor: FeatureExtractor,
    store: ArrayStore,
    settings: Transfer,
    feedback: FeedbackData,
    rehearsal_weight: float,
) -> HeadRows:
    """Plain and flipped images, labelled predictions as often as they count, then copies: all that a retraining chose, or rehearsed ones."""
    table = images.of_split("train")
    keys, targets_N = table["sha256"].tolist(), images.targets(table)
    views = ("plain", "flipped") if settings.flipped_views else ("plain",)
    labelled_ND, labelled_N = feedback.rows("train", images.class_names)
    times = 1 if feedback.augmented else settings.feedback_weight  # there are as many copies as images
    with loading("torch._dynamo", "timm"):  # for the optimizer, whatever it compiles, and for the export
        seen = [extractor.extract(keys, view, store) for view in views]
    if rehearsal_weight:  # not beside it: copies take torchvision, which timm loads, too
        copies_CD, copied_C = copies_that_train(images, extractor, store, rehearsal_weight)
    else:
        copies_CD, copied_C = feedback.rows_of(feedback.copies, images.class_names)
    num_images = len(targets_N) * len(views)
    share = min(1.0, rehearsal_weight * num_images / max(1, len(copied_C))) if rehearsal_weight else 1.0
    features = [*seen, *[labelled_ND] * times, copies_CD]
    return HeadRows(
        np.concatenate([rows.reshape(-1, extractor.num_features) for rows in features]),
        np.concatenate([np.tile(targets_N, len(views)), np.tile(labelled_N, times), copied_C]),
        Drawn(len(copied_C), share),
        share * len(copied_C) / num_images if rehearsal_weight else 0.0,
    )
