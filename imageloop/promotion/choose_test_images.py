"""Choose the labelled test images of a package."""

import pandas as pd

from imageloop.data.prepared_images import PreparedImages, in_batches
from imageloop.model.test_images import TestImage, encode
from imageloop.workspace_paths import Workspace

NUM_AT_ONCE = 64  # images in memory


def choose_test_images(
    predictions: pd.DataFrame, images: PreparedImages, workspace: Workspace, max_images: int
) -> list[TestImage]:
    """Return at most `max_images` of the test images, with whether the model predicted them right.

    A hash decides which ones, so each version of the same data has the same images, and as many of a class as its share.
    """
    chosen = predictions.sort_values("sha256").head(max_images)
    batches = in_batches(images.open_store(workspace.prepared), chosen["sha256"].tolist(), NUM_AT_ONCE)
    contents = (encode(image_SSC) for images_BSSC in batches for image_SSC in images_BSSC)
    return [
        TestImage(row.sha256, row.label, bool(row.right), content)
        for row, content in zip(chosen.itertuples(), contents, strict=True)
    ]
