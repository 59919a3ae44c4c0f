"""What the service met, between two steps: two tables; in the dashboard the labels that wait for a person."""

from typing import ClassVar

import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.training.feedback_data import ROLES, Experience
from materializers.artifact_files import hash_of, hash_of_table, read_json, read_table, write_bytes, write_json, write_table

MAX_ROWS = 200


class ExperienceMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Experience,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def load(self, data_type: type) -> Experience:
        facts = read_json(self.artifact_store, f"{self.uri}/facts.json")
        labelled, recent = (read_table(self.artifact_store, f"{self.uri}/{name}.parquet") for name in ("labelled", "recent"))
        return Experience(labelled, recent, **facts)

    def save(self, experience: Experience) -> None:
        write_table(self.artifact_store, f"{self.uri}/labelled.parquet", experience.labelled)
        write_table(self.artifact_store, f"{self.uri}/recent.parquet", experience.recent)
        facts = {name: getattr(experience, name) for name in ("backbone", "side_pixels", "imitated", "bias")}
        write_json(self.artifact_store, f"{self.uri}/facts.json", facts)

    def save_visualizations(self, experience: Experience) -> dict[str, VisualizationType]:
        path = f"{self.uri}/experience.html"
        write_bytes(self.artifact_store, path, _report(experience.labelled).encode())
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, experience: Experience) -> str:
        columns = ["request_id", "true_label", "role", "scene"]
        recent = experience.recent[["request_id"]] if len(experience.recent) else pd.DataFrame()
        return hash_of(
            hash_of_table(experience.labelled[columns]), hash_of_table(recent), experience.backbone, str(experience.bias)
        )


def _report(labelled: pd.DataFrame) -> str:
    counts = labelled["role"].value_counts()
    waiting = labelled[labelled["role"] == "quarantined"].sort_values("quality").head(MAX_ROWS)
    rows = [
        (row.request_id, row.label, row.true_label, row.feedback_source, f"{row.quality:.3f}", row.reason)
        for row in waiting.itertuples()
    ]
    header = ["request", "answered", "labelled", "source", "quality", "why it waits"]
    return html_pages.page(
        "What the service was corrected on",
        f"{len(labelled):,} labels. Those that wait teach nothing until a person has looked at them.",
        html_pages.section("Roles", html_pages.table(["role", "labels"], [(role, int(counts.get(role, 0))) for role in ROLES])),
        html_pages.section("Waiting for a person", html_pages.table(header, rows) if rows else "<p>None.</p>"),
    )
