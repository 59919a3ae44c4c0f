"""Settings of a training that a step made, as JSON."""

from typing import ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.training.settings import TrainingSettings
from materializers.artifact_files import hash_of, read_bytes, write_bytes


class TrainingSettingsMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (TrainingSettings,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def load(self, data_type: type[TrainingSettings]) -> TrainingSettings:
        return data_type.model_validate_json(read_bytes(self.artifact_store, f"{self.uri}/settings.json"))

    def save(self, settings: TrainingSettings) -> None:
        write_bytes(self.artifact_store, f"{self.uri}/settings.json", settings.model_dump_json().encode())

    def save_visualizations(self, settings: TrainingSettings) -> dict[str, VisualizationType]:
        path = f"{self.uri}/settings.html"
        rows = [(name, str(value)) for name, value in settings.model_dump(mode="json").items()]
        page = html_pages.page("Settings of a training", "What the search chose.", html_pages.table(["", ""], rows))
        write_bytes(self.artifact_store, path, page.encode())
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, settings: TrainingSettings) -> str:
        return hash_of(settings.model_dump_json())
