"""What `mlflow.pyfunc.load_model` calls to load a package. Knows nothing of MLflow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from imageloop.model.predictor import Predictor
from imageloop.model.signing import public_key
from imageloop.workspace_paths import Workspace


class PyfuncModel:
    """Images in, a table of probabilities out."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return one row an image: `label`, and a column for each class.

        Shapes: a list of files' contents, a table whose first column holds them, or images (B, S, S, 3) uint8.
        """
        images = model_input.iloc[:, 0].tolist() if isinstance(model_input, pd.DataFrame) else model_input
        predictions = self._predictor.predict(images)
        table = pd.DataFrame(predictions.probabilities, columns=self._predictor.info.class_names)
        return table.assign(label=predictions.labels)


def _load_pyfunc(data_path: str) -> PyfuncModel:
    return PyfuncModel(Predictor.load(Path(data_path), public_key(Workspace.current().keys)))
