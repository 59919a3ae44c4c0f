"""Choose the training images whose thumbnails a package holds."""

import numpy as np

from imageloop.data.prepared_images import PreparedImages, in_batches
from imageloop.embeddings.training_examples import TrainingExamples, thumbnail
from imageloop.model.package import BATCH
from imageloop.model.predictor import Predictor
from imageloop.workspace_paths import Workspace


def choose_training_examples(
    predictor: Predictor, images: PreparedImages, workspace: Workspace, max_images: int
) -> TrainingExamples:
    """Return at most `max_images` of the training images, as many of each class where there are as many.

    A hash decides which ones, so each version of the same data shows the same images.
    """
    table = images.of_split("train").sort_values("sha256", kind="stable")
    turn = table.groupby("label").cumcount()
    chosen = table.loc[turn.sort_values(kind="stable").index[:max_images]]
    embeddings, thumbnails = [], []
    for images_BSSC in in_batches(images.open_store(workspace.prepared), chosen["sha256"].tolist(), BATCH):
        embeddings.append(predictor.predict(images_BSSC).embeddings)
        thumbnails += [thumbnail(image_SSC) for image_SSC in images_BSSC]
    return TrainingExamples(np.concatenate(embeddings), chosen["label"].tolist(), thumbnails)
