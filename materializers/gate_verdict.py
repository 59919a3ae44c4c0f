"""A verdict between two steps: JSON, and in the dashboard each gate with what was expected and got."""

import json
from typing import ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop.promotion.check_result import Check
from imageloop.promotion.evaluation_report import verdict_report
from imageloop.promotion.gates import GateVerdict
from materializers.artifact_files import hash_of, read_json, write_bytes, write_json


class VerdictMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (GateVerdict,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def load(self, data_type: type) -> GateVerdict:
        values = read_json(self.artifact_store, f"{self.uri}/verdict.json")
        return GateVerdict(**{**values, "checks": [Check(**check) for check in values["checks"]]})

    def save(self, verdict: GateVerdict) -> None:
        write_json(self.artifact_store, f"{self.uri}/verdict.json", verdict.as_dict())

    def save_visualizations(self, verdict: GateVerdict) -> dict[str, VisualizationType]:
        path = f"{self.uri}/verdict.html"
        write_bytes(self.artifact_store, path, verdict_report(verdict).encode())
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, verdict: GateVerdict) -> str:
        return hash_of(json.dumps(verdict.as_dict()))
