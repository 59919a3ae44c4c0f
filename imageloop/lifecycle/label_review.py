"""Judge the labels at hand as a retraining would, for a user who decides about those that await approval."""

from contextlib import closing

import numpy as np

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.embeddings.accuracy_estimator import AccuracyEstimator
from imageloop.embeddings.drift_samples import with_typical
from imageloop.embeddings.novelty import Novelty
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.feedback_for_training import READ_PER_LABEL, open_database, seen_alike
from imageloop.model.package import read_info
from imageloop.training.feedback_data import FeedbackData, select_feedback
from imageloop.training.settings import FeedbackSettings
from imageloop.workspace_paths import Workspace


def judge_labels(settings: FeedbackSettings, model_name: str, workspace: Workspace) -> FeedbackData:
    """The labelled predictions with their roles, judged by the known images that the champion's package holds.

    Raises: ImageLoopError without a champion, or where its package holds no known images.
    """
    registry = ModelRegistry(model_name)
    champion = registry.champion()
    if champion is None:
        raise ImageLoopError(
            f"expected a champion of '{model_name}' that labels can be compared with, got none; run: python run.py train --model {model_name}"
        )
    folder = registry.package(champion)
    info, estimator, novelty = read_info(folder), AccuracyEstimator.read(folder), Novelty.read(folder)
    if estimator is None or not info.backbone:
        raise ImageLoopError(
            f"expected a champion with a frozen backbone whose package holds known images, got version {champion}, which "
            + ("was made before 0.3; train it again" if info.backbone else "has features that were trained too")
        )
    with closing(open_database(workspace, settings.database)) as database:
        labelled = database.labelled(model_name, newest=READ_PER_LABEL * settings.max_labels)
    (alike,) = seen_alike(registry, info, labelled)
    known = estimator.known.embeddings_MD.astype(np.float32), estimator.known.classes_M
    scene = novelty.scene if novelty else 0.0
    source = info.backbone, info.side_pixels
    return select_feedback(with_typical(alike, novelty), alike.head(0), known, info.class_names, source, settings, scene)
