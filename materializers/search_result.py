"""The result of a search: its winner and all trials; in the dashboard a page, and Optuna's charts."""

import json
from typing import ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop.tuning.search_report import search_report
from imageloop.tuning.search_result import SearchResult
from materializers.artifact_files import hash_of, read_json, write_bytes, write_json


class SearchResultMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (SearchResult,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def load(self, data_type: type[SearchResult]) -> SearchResult:
        """The charts are not read again: they are pages of the dashboard."""
        return SearchResult.of_dict(read_json(self.artifact_store, f"{self.uri}/search.json"))

    def save(self, result: SearchResult) -> None:
        write_json(self.artifact_store, f"{self.uri}/search.json", result.as_dict())

    def save_visualizations(self, result: SearchResult) -> dict[str, VisualizationType]:
        page = f"{self.uri}/search.html"
        write_bytes(self.artifact_store, page, search_report(result).encode())
        visualizations = {page: VisualizationType.HTML}
        for name, content in result.charts.items():
            path = f"{self.uri}/{name.replace(' ', '-').replace(',', '')}.png"
            write_bytes(self.artifact_store, path, content)
            visualizations[path] = VisualizationType.IMAGE
        return visualizations

    def compute_content_hash(self, result: SearchResult) -> str:
        return hash_of(json.dumps(result.as_dict(), sort_keys=True))
