"""Choose the labelled test images of a package."""

import pandas as pd

from imageloop.data.prepared_images import PreparedImages
from imageloop.model.test_images import TestImage, encode
from imageloop.workspace_paths import Workspace


def choose_test_images(
    predictions: pd.DataFrame, images: PreparedImages, workspace: Workspace, max_images: int
) -> list[TestImage]:
    """Return at most `max_images` of the test images, with whether the model predicted them right.

    A hash decides which ones, so each version of the same data has the same images, and as many of a class as its share.
    """
    chosen = predictions.sort_values("sha256").head(max_images)
    store = images.open_store(workspace.prepared)
    return [TestImage(row.sha256, row.label, bool(row.right), encode(store.read([row.sha256])[0])) for row in chosen.itertuples()]
