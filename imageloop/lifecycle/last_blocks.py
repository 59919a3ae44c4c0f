"""Whether a retraining trains the last blocks of the backbone on retained images, and the labels of a champion whose blocks were trained."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from imageloop.data.prepared_images import PreparedImages
from imageloop.lifecycle.feedback_images import ImagesByRequest
from imageloop.training.features import FeatureExtractor
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.retraining_ladder import LABELS, RECALIBRATED, Ladder
from imageloop.training.settings import FeedbackSettings
from imageloop.workspace_paths import Workspace

FEWEST_IMAGES = 60  # that train: fewer teach a head and no blocks
READ_AT_ONCE = 256


def with_last_blocks(feedback: FeedbackData, settings: FeedbackSettings, images: ImagesByRequest) -> FeedbackData:
    """The feedback data with the last blocks as a further rung, where the head falls short and enough images of labels were retained.

    Without a compared head the blocks are all that can be trained. Labels that validate need their image then; those without train the head.
    """
    known = set(images.known(feedback.labelled["request_id"]))
    labelled = feedback.labelled.assign(retained=feedback.labelled["request_id"].isin(known))
    num_images = int((labelled["retained"] & labelled["role"].isin(("train", "validation"))).sum())
    ladder = feedback.ladder
    if (ladder is not None and not ladder.falls_short) or num_images < FEWEST_IMAGES or not settings.fine_tune_minutes:
        return replace(feedback, labelled=labelled)
    labelled.loc[~labelled["retained"] & (labelled["role"] == "validation"), "role"] = "train"
    ladder = ladder or Ladder([], "", 0)
    head = LABELS if ladder.chosen == RECALIBRATED else ladder.chosen  # blocks are trained below a head that is trained too
    return replace(
        feedback,
        labelled=labelled,
        ladder=replace(ladder, chosen=head, num_images=num_images, advice=""),
        head=None,
        deployment=settings.deployment,
        fine_tune_minutes=settings.fine_tune_minutes,
    )


def right_without_image(labelled: pd.DataFrame, retained: pd.DataFrame, held_back: float) -> int:
    """How many right predictions would judge the next version if their images had been retained: the held-back share of them."""
    gone = labelled[~labelled["request_id"].isin(retained["request_id"])]
    return round(held_back * int((gone["label"] == gone["ground_truth"]).sum()))


def embedded_by(
    backbone: str, tables: Sequence[pd.DataFrame], images: PreparedImages, retained: ImagesByRequest, workspace: Workspace
) -> list[pd.DataFrame]:
    """The records of each table whose image was retained, with the features of a frozen backbone in the place of their embeddings.

    Raises: ImageLoopError for an image that is gone, or for another key.
    """
    names = retained.known(dict.fromkeys(name for table in tables for name in table["request_id"]))
    extractor = FeatureExtractor.of(backbone, images.side_pixels, workspace)
    embeddings: dict[str, bytes] = {}
    for some in itertools.batched(names, READ_AT_ONCE):
        features_ND = extractor.run(retained.read(some, images.side_pixels))
        embeddings |= {name: row.astype(np.float16).tobytes() for name, row in zip(some, features_ND, strict=True)}
    rows = [table[table["request_id"].isin(embeddings)] for table in tables]
    return [table.assign(embedding=table["request_id"].map(embeddings)) for table in rows]
