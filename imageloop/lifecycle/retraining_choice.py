"""Choose how to retrain: compare the rungs of the ladder on the labels at hand, and prepare the chosen one for the training.

Shapes: M images, D features.
"""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.prepared_images import PreparedImages
from imageloop.model.linear_head import read_linear_head
from imageloop.model.package import read_info
from imageloop.training.features import FeatureExtractor
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.logistic_head import LogisticHead
from imageloop.training.rehearsed_copies import copies_of_training_images
from imageloop.training.retraining_ladder import NUM_FOLDS, RECALIBRATED, WITH_COPIES, LadderInput, compare_rungs
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


def choose_rung(
    feedback: FeedbackData,
    images: PreparedImages,
    known: tuple[NDArray[np.float32], NDArray[np.int64]],
    version: str,
    champion: Path,
    workspace: Workspace,
) -> FeedbackData:
    """The feedback data with the compared rungs, and what the chosen one trains on besides. Held-back labels are not used.

    `known`: embeddings and classes of the training images, (M, D) and (M,); `champion`: the folder of the package of `version`.
    """
    info = read_info(champion)
    if info.class_names != images.class_names:
        return feedback
    credible = feedback.credible()
    judging = credible[~credible["evaluates"].astype(bool)]
    trains_N = (judging["role"] != "quarantined").to_numpy()
    seen = judging.loc[judging["model_version"] != version, "scene"]  # an older prediction may have trained the champion
    labels_ND, classes_N = feedback.rows_of(judging, images.class_names)
    validation = images.of_split("validation")
    extractor, store = FeatureExtractor.of(info.backbone, images.side_pixels, workspace), images.open_store(workspace.prepared)
    copies = _copies(images, extractor, workspace)
    weights_KD, biases_K = read_linear_head(champion)
    given = LadderInput(
        labels_ND, classes_N, pd.factorize(judging["scene"])[0] % NUM_FOLDS, trains_N, ~judging["scene"].isin(seen).to_numpy(), *known,
        extractor.extract(validation["sha256"].tolist(), "plain", store), images.targets(validation),
        *feedback.rows_of(copies, images.class_names), LogisticHead(weights_KD, biases_K, 1.0), images.class_names, info.metrics.get("accuracy", 1.0),
    )  # fmt: skip
    ladder = compare_rungs(given)
    logger.info("%s", ladder.sentence())
    chosen = replace(feedback, ladder=ladder)
    if ladder.chosen == WITH_COPIES:
        return replace(chosen, copies=copies)
    if ladder.chosen == RECALIBRATED:
        head = given.fit(RECALIBRATED, np.flatnonzero(trains_N))
        head_KD1 = np.column_stack([head.weights_KD, head.biases_K]).astype(np.float32)
        return replace(chosen, head=head_KD1, rehearsal_weight=info.rehearsal_weight)
    return chosen


def _copies(images: PreparedImages, extractor: FeatureExtractor, workspace: Workspace) -> pd.DataFrame:
    """The rehearsed copies of training images, which the champion's estimator was fitted on: columns `ground_truth` and `embedding`."""
    embeddings_CD, of_C = copies_of_training_images(images, extractor, images.open_store(workspace.prepared))
    embeddings = [row.astype(np.float16).tobytes() for row in embeddings_CD]
    return pd.DataFrame({"ground_truth": of_C["label"], "embedding": embeddings})
