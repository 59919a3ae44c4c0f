"""Stores an evaluation: metrics as JSON, predictions as a table; the dashboard shows the report."""

from dataclasses import asdict, replace
from typing import ClassVar

import numpy as np
import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop.promotion.evaluation import Evaluation, Slice
from imageloop.promotion.evaluation_report import evaluation_report
from imageloop.training.classification_metrics import ClassificationScores
from materializers.artifact_files import (
    hash_of_table,
    prepared_images,
    read_json,
    read_table,
    write_bytes,
    write_json,
    write_table,
)


class EvaluationMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Evaluation,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def load(self, data_type: type) -> Evaluation:
        values = read_json(self.artifact_store, f"{self.uri}/figures.json")
        values |= {
            "scores": ClassificationScores.from_dict(values["scores"]),
            "intervals": {name: tuple(interval) for name, interval in values["intervals"].items()},
            "reliability": [tuple(row) for row in values["reliability"]],
            "confusion_KK": np.array(values["confusion_KK"], np.int64),
            "slices": [Slice(**{**part, "interval": tuple(part["interval"])}) for part in values["slices"]],
            "predictions": read_table(self.artifact_store, f"{self.uri}/predictions.parquet"),
        }
        return Evaluation(**values)

    def save(self, evaluation: Evaluation) -> None:
        write_table(self.artifact_store, f"{self.uri}/predictions.parquet", evaluation.predictions)
        values = asdict(replace(evaluation, predictions=pd.DataFrame()))
        write_json(
            self.artifact_store,
            f"{self.uri}/figures.json",
            values | {"predictions": None, "confusion_KK": evaluation.confusion_KK.tolist()},
        )

    def save_visualizations(self, evaluation: Evaluation) -> dict[str, VisualizationType]:
        path = f"{self.uri}/evaluation.html"
        write_bytes(self.artifact_store, path, evaluation_report(evaluation, prepared_images()).encode())
        return {path: VisualizationType.HTML}

    def extract_metadata(self, evaluation: Evaluation) -> dict[str, float]:
        return {
            "accuracy": evaluation.scores.accuracy,
            "f1": evaluation.scores.f1,
            "calibration_error": evaluation.calibration_error,
        }

    def compute_content_hash(self, evaluation: Evaluation) -> str:
        return hash_of_table(evaluation.predictions)
