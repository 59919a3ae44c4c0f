"""Stores feedback data as two tables; the dashboard shows the labels that await approval."""

from typing import ClassVar

import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.training.feedback_data import ROLES, FeedbackData
from materializers.artifact_files import hash_of, hash_of_table, read_json, read_table, write_bytes, write_json, write_table

MAX_ROWS = 200


class FeedbackDataMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (FeedbackData,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def load(self, data_type: type) -> FeedbackData:
        facts = read_json(self.artifact_store, f"{self.uri}/facts.json")
        labelled, recent = (read_table(self.artifact_store, f"{self.uri}/{name}.parquet") for name in ("labelled", "recent"))
        return FeedbackData(labelled, recent, **facts)

    def save(self, feedback: FeedbackData) -> None:
        write_table(self.artifact_store, f"{self.uri}/labelled.parquet", feedback.labelled)
        write_table(self.artifact_store, f"{self.uri}/recent.parquet", feedback.recent)
        facts = {name: getattr(feedback, name) for name in ("backbone", "side_pixels", "augmented", "bias")}
        write_json(self.artifact_store, f"{self.uri}/facts.json", facts)

    def save_visualizations(self, feedback: FeedbackData) -> dict[str, VisualizationType]:
        path = f"{self.uri}/feedback.html"
        write_bytes(self.artifact_store, path, _report(feedback.labelled).encode())
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, feedback: FeedbackData) -> str:
        columns = ["request_id", "ground_truth", "role", "scene"]
        recent = feedback.recent[["request_id"]] if len(feedback.recent) else pd.DataFrame()
        return hash_of(hash_of_table(feedback.labelled[columns]), hash_of_table(recent), feedback.backbone, str(feedback.bias))


def _report(labelled: pd.DataFrame) -> str:
    counts = labelled["role"].value_counts()
    waiting = labelled[labelled["role"] == "quarantined"].sort_values("quality").head(MAX_ROWS)
    rows = [
        (row.request_id, row.label, row.ground_truth, row.feedback_source, f"{row.quality:.3f}", row.reason)
        for row in waiting.itertuples()
    ]
    header = ["request", "answered", "labelled", "source", "quality", "why it waits"]
    return html_pages.page(
        "What the service was corrected on",
        f"{len(labelled):,} labels. Labels that await approval are not used for training.",
        html_pages.section("Roles", html_pages.table(["role", "labels"], [(role, int(counts.get(role, 0))) for role in ROLES])),
        html_pages.section("Awaiting approval", html_pages.table(header, rows) if rows else "<p>None.</p>"),
    )
