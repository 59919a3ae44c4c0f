"""A trained model between two steps: tensors and plain values, no pickle; in the dashboard its losses."""

import io
from dataclasses import asdict
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop.training.classification_metrics import ClassificationScores
from imageloop.training.settings import TrainingSettings
from imageloop.training.trained_model import EpochReport, TeacherScore, TrainedModel
from materializers.artifact_files import hash_of, read_bytes, write_bytes


class TrainedModelMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (TrainedModel,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def load(self, data_type: type) -> TrainedModel:
        import torch

        content = io.BytesIO(read_bytes(self.artifact_store, f"{self.uri}/model.pt"))
        return _from_values(torch.load(content, weights_only=True))

    def save(self, model: TrainedModel) -> None:
        import torch

        content = io.BytesIO()
        torch.save(_to_values(model), content)
        write_bytes(self.artifact_store, f"{self.uri}/model.pt", content.getvalue())

    def save_visualizations(self, model: TrainedModel) -> dict[str, VisualizationType]:
        from imageloop.promotion.evaluation_charts import history_figure, png_of

        path = f"{self.uri}/losses.png"
        write_bytes(self.artifact_store, path, png_of(history_figure(model.history, model.best_epoch)))
        return {path: VisualizationType.IMAGE}

    def compute_content_hash(self, model: TrainedModel) -> str:
        tensors = (value.numpy().tobytes() for value in model.state.values())
        validation = (model.validation_logits_NK.tobytes(), model.validation_targets_N.tobytes())
        return hash_of(model.settings.model_dump_json(), str(model.class_names), *tensors, *validation)


def _to_values(model: TrainedModel) -> dict[str, Any]:
    from torch import from_numpy

    return {
        "settings": model.settings.model_dump_json(),
        "class_names": model.class_names,
        "state": model.state,
        "head_only": model.head_only,
        "history": [asdict(row) for row in model.history],
        "best_epoch": model.best_epoch,
        "validation_logits": from_numpy(model.validation_logits_NK),
        "validation_targets": from_numpy(model.validation_targets_N),
        "teacher": asdict(model.teacher) if model.teacher else None,
        "rehearsal_weight": model.rehearsal_weight,
    }


def _from_values(values: dict[str, Any]) -> TrainedModel:
    history = [
        EpochReport(**{**row, "validation": ClassificationScores.from_dict(row["validation"])}) for row in values["history"]
    ]
    return TrainedModel(
        settings=TrainingSettings.model_validate_json(values["settings"]),
        class_names=values["class_names"],
        state=values["state"],
        head_only=values["head_only"],
        history=history,
        best_epoch=values["best_epoch"],
        validation_logits_NK=values["validation_logits"].numpy(),
        validation_targets_N=values["validation_targets"].numpy(),
        teacher=TeacherScore(**values["teacher"]) if values.get("teacher") else None,
        rehearsal_weight=values.get("rehearsal_weight", 0.0),
    )
