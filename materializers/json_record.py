"""Stores small records as JSON; the dashboard shows a table."""

from typing import ClassVar

from pydantic import BaseModel
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.batch_prediction.step_artifacts import BatchOutput
from imageloop.data.data_version import DataVersion, RawVersion
from imageloop.promotion.step_artifacts import Calibration, Candidate, Registration, RolloutRecord
from imageloop.training.settings import TrainingSettings
from materializers.artifact_files import hash_of, read_bytes, write_bytes


class RecordMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (
        RawVersion, DataVersion, Calibration, Registration, Candidate, RolloutRecord, TrainingSettings, BatchOutput,
    )  # fmt: skip
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def load(self, data_type: type[BaseModel]) -> BaseModel:
        return data_type.model_validate_json(read_bytes(self.artifact_store, f"{self.uri}/record.json"))

    def save(self, record: BaseModel) -> None:
        write_bytes(self.artifact_store, f"{self.uri}/record.json", record.model_dump_json().encode())

    def save_visualizations(self, record: BaseModel) -> dict[str, VisualizationType]:
        path = f"{self.uri}/record.html"
        values = record.model_dump().items()
        rows = [(name, value if isinstance(value, float) else str(value)) for name, value in values]
        title = type(record).__name__
        write_bytes(
            self.artifact_store,
            path,
            html_pages.page(title, (type(record).__doc__ or "").strip(), html_pages.table(["", ""], rows)).encode(),
        )
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, record: BaseModel) -> str:
        return hash_of(record.model_dump_json())
