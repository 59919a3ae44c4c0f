"""Choose the smoke-test images of a package."""

import io
from pathlib import Path

import pandas as pd
from PIL import Image

from imageloop.data.prepared_images import PreparedImages
from imageloop.data.preprocessing import UInt8Array
from imageloop.model.predictor import Predictor
from imageloop.model.smoke_test_images import Example, write_examples
from imageloop.workspace_paths import Workspace

MAX_CLASSES = 10  # with many classes the first ones are enough
TRIED = 8


def write_smoke_test_images(
    predictor: Predictor, predictions: pd.DataFrame, images: PreparedImages, workspace: Workspace, folder: Path
) -> None:
    """Write for each class the test image that is predicted right with the highest confidence, as the service will receive it."""
    store = images.open_store(workspace.prepared)
    examples = []
    for label in images.class_names[:MAX_CLASSES]:
        right = predictions[(predictions["label"] == label) & predictions["right"]]
        keys = right.sort_values("confidence", ascending=False)["sha256"].tolist()[:TRIED]
        known = [_example(predictor, label, store.read([key])[0]) for key in keys]
        examples += sorted((one for one in known if one is not None), key=lambda one: -one.probability)[:1]
    write_examples(folder, examples)


def _example(predictor: Predictor, label: str, image_SSC: UInt8Array) -> Example | None:
    """Make an example of a file, None where it is predicted differently from the prepared image: preprocessing crops once more."""
    content = io.BytesIO()
    Image.fromarray(image_SSC).save(content, "PNG")
    predictions = predictor.predict([content.getvalue()])
    if predictions.labels[0] != label:
        return None
    return Example(label, float(predictions.probabilities[0].max()), content.getvalue())
