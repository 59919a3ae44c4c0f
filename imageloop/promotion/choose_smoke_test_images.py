"""Choose the pictures that whoever serves a package asks it about first."""

import io
from pathlib import Path

import pandas as pd
from PIL import Image

from imageloop.data.prepared_images import PreparedPictures
from imageloop.data.preprocessing import UInt8Array
from imageloop.model.predictor import Predictor
from imageloop.model.smoke_test_images import Example, write_examples
from imageloop.workspace_paths import Workspace

MAX_CLASSES = 10  # of many classes the first ones say enough
TRIED = 8


def write_known_pictures(
    predictor: Predictor, predictions: pd.DataFrame, pictures: PreparedPictures, workspace: Workspace, folder: Path
) -> None:
    """Keep, for each class, the test picture that the model is surest and right about, as the service will see it."""
    store = pictures.open_store(workspace.prepared)
    examples = []
    for label in pictures.class_names[:MAX_CLASSES]:
        right = predictions[(predictions["label"] == label) & predictions["right"]]
        keys = right.sort_values("confidence", ascending=False)["sha256"].tolist()[:TRIED]
        known = [_example(predictor, label, store.read([key])[0]) for key in keys]
        examples += sorted((one for one in known if one is not None), key=lambda one: -one.probability)[:1]
    write_examples(folder, examples)


def _example(predictor: Predictor, label: str, image_SSC: UInt8Array) -> Example | None:
    """None where the model says something else of the file than of the prepared picture: preprocessing crops once more."""
    content = io.BytesIO()
    Image.fromarray(image_SSC).save(content, "PNG")
    answer = predictor.predict([content.getvalue()])
    if answer.labels[0] != label:
        return None
    return Example(label, float(answer.probabilities[0].max()), content.getvalue())
