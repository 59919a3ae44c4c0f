"""The reference of a package: predictions for images as usual, which the drift test compares windows with, and what the model knows.

Shapes: N images, D features, K classes.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.prepared_images import PreparedImages, spread
from imageloop.embeddings.drift_samples import MIN_SCENES, MIN_UNSEEN, embeddings_of
from imageloop.embeddings.novelty import Novelty
from imageloop.model.linear_head import predict_from_embeddings
from imageloop.model.package import REFERENCE
from imageloop.model.predictor import Predictor
from imageloop.promotion.evaluation import table_of
from imageloop.training.features import known_features
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.feedback_images import SeenImages
from imageloop.workspace_paths import Workspace

NUM_REFERENCE_IMAGES = 400


def write_reference(
    predictor: Predictor,
    images: PreparedImages,
    workspace: Workspace,
    folder: Path,
    feedback: FeedbackData,
    recent: SeenImages | None = None,
) -> None:
    """Write the reference for drift with the predictions of the served file: of images that it was not trained on, if there are enough.

    A model that was trained on feedback data or with drift augmentation gets the newest predictions as its reference, if they show enough
    scenes. Known embeddings are not computed again. `recent`: the newest predictions with their images, where the last blocks were trained.
    """
    unseen = spread(images.table[images.table["split"] != "train"], NUM_REFERENCE_IMAGES)
    table = pd.concat([unseen, spread(images.of_split("train"), NUM_REFERENCE_IMAGES - len(unseen))])
    if feedback.fits(predictor.info.backbone, predictor.info.side_pixels) and _are_enough(feedback.recent):
        learnt = feedback.labelled[feedback.labelled["role"] != "quarantined"]
        reference = _recent_reference(not_fitted_on(feedback), images.class_names, folder)
        embeddings_ND = np.concatenate([known_features(images, table, predictor.info.backbone, workspace), embeddings_of(learnt)])
    else:
        reference, embeddings_ND = _reference(predictor, table, images, workspace, folder)
        if recent is not None and _are_enough(recent.rows):
            reference, seen_ND = _recent_reference_by_images(predictor, recent)
            embeddings_ND = np.concatenate([embeddings_ND, seen_ND])
    reference.to_parquet(folder / REFERENCE, index=False)
    Novelty.of(embeddings_ND, len(images.class_names), table["label"].to_numpy(str)).write(folder)


def not_fitted_on(feedback: FeedbackData) -> pd.DataFrame:
    """The newest predictions but those that the head was fitted on, of which it is surer than of others; all, where too few are left."""
    fitted = feedback.labelled[feedback.labelled["role"].isin(("train", "validation"))]
    rest = feedback.recent[~feedback.recent["scene"].isin(fitted["scene"])]
    return rest if _are_enough(rest) else feedback.recent


def _are_enough(predictions: pd.DataFrame) -> bool:
    return len(predictions) >= MIN_UNSEEN and predictions["scene"].nunique() >= MIN_SCENES


def _reference(
    predictor: Predictor, table: pd.DataFrame, images: PreparedImages, workspace: Workspace, folder: Path
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Predictions and embeddings (N, D) of images of the data set; the stored ones of the backbone, if the served file has it unchanged."""
    images_NSSC = images.open_store(workspace.prepared).read(table["sha256"].tolist())
    if predictor.info.backbone and predictor.precision == "fp32":
        embeddings_ND = known_features(images, table, predictor.info.backbone, workspace)
        probabilities_NK = predict_from_embeddings(folder, embeddings_ND)
    else:
        predicted = predictor.predict(images_NSSC)
        embeddings_ND, probabilities_NK = predicted.embeddings, predicted.probabilities
    reference = table_of(table, probabilities_NK, images.class_names).assign(
        split=table["split"].to_numpy(),
        format=table["format"].to_numpy(),
        embedding=list(embeddings_ND.astype(np.float16)),
        **dict(zip(NAMES, image_statistics(images_NSSC).T, strict=True)),
    )
    return reference, embeddings_ND


def _recent_reference(recent: pd.DataFrame, class_names: list[str], folder: Path) -> pd.DataFrame:
    """The same table of recorded predictions, with the predictions of the new head."""
    probabilities_NK = predict_from_embeddings(folder, embeddings_of(recent))
    vectors = [np.frombuffer(row, np.float16) for row in recent["embedding"]]
    return _served(recent, probabilities_NK, vectors, class_names)


def _recent_reference_by_images(predictor: Predictor, recent: SeenImages) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """The same of recorded predictions whose images were retained, by a model whose blocks were trained; and its embeddings, (N, D)."""
    found = predictor.predict(recent.images_NSSC)
    vectors = list(found.embeddings.astype(np.float16))
    return _served(recent.rows, found.probabilities, vectors, predictor.info.class_names), found.embeddings


def _served(
    recent: pd.DataFrame, probabilities_NK: NDArray[np.float32], vectors: list[NDArray[np.float16]], class_names: list[str]
) -> pd.DataFrame:
    """Rows of the reference from records: their statistics, with new predictions and embeddings."""
    table = recent.assign(path="", split="served").drop(columns="label").assign(label="")
    rows = table_of(table, probabilities_NK, class_names)
    statistics = {name: [row[name] for row in recent["statistics"]] for name in NAMES}
    return rows.assign(split="served", format=recent["format"].to_numpy(), embedding=vectors, **statistics)
