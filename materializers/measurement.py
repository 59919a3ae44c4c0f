"""A measurement and the decision that follows, between two steps: JSON; in the dashboard a page for each."""

from dataclasses import asdict
from typing import ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop.monitoring.decisions import Verdict
from imageloop.monitoring.measurement import Measurement
from imageloop.monitoring.monitoring_report import monitoring_report, verdict_report
from materializers.artifact_files import read_json, write_bytes, write_json


class MeasurementMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Measurement,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def load(self, data_type: type) -> Measurement:
        return Measurement.of_dict(read_json(self.artifact_store, f"{self.uri}/measurement.json"))

    def save(self, measurement: Measurement) -> None:
        write_json(self.artifact_store, f"{self.uri}/measurement.json", measurement.as_dict())

    def save_visualizations(self, measurement: Measurement) -> dict[str, VisualizationType]:
        path = f"{self.uri}/drift.html"
        write_bytes(self.artifact_store, path, monitoring_report(measurement).encode())
        return {path: VisualizationType.HTML}


class DecisionMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Verdict,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def load(self, data_type: type) -> Verdict:
        return Verdict(**read_json(self.artifact_store, f"{self.uri}/decision.json"))

    def save(self, verdict: Verdict) -> None:
        write_json(self.artifact_store, f"{self.uri}/decision.json", asdict(verdict))

    def save_visualizations(self, verdict: Verdict) -> dict[str, VisualizationType]:
        path = f"{self.uri}/decision.html"
        write_bytes(self.artifact_store, path, verdict_report(verdict).encode())
        return {path: VisualizationType.HTML}
