"""Stores feedback data as tables; the dashboard shows the ways to retrain that were compared, and the labels that await approval."""

import html
from dataclasses import asdict
from typing import ClassVar

import numpy as np
import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.training.feedback_data import ROLES, FeedbackData
from imageloop.training.retraining_ladder import Ladder
from materializers.artifact_files import hash_of, hash_of_table, read_json, read_table, write_bytes, write_json, write_table

MAX_ROWS = 200
FACTS = ("backbone", "side_pixels", "augmented", "bias", "deployment", "fine_tune_minutes", "num_gone", "rehearsal_weight")
TABLES = ("labelled", "recent", "copies")


class FeedbackDataMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (FeedbackData,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def load(self, data_type: type) -> FeedbackData:
        facts = read_json(self.artifact_store, f"{self.uri}/facts.json")
        labelled, recent, copies = (read_table(self.artifact_store, f"{self.uri}/{name}.parquet") for name in TABLES)
        ladder, head = facts.pop("ladder"), None
        if facts.pop("recalibrated"):
            head = read_table(self.artifact_store, f"{self.uri}/head.parquet").to_numpy(np.float32)
        return FeedbackData(
            labelled, recent, ladder=Ladder.of_dict(ladder) if ladder else None, copies=copies, head=head, **facts
        )

    def save(self, feedback: FeedbackData) -> None:
        for name in TABLES:
            write_table(self.artifact_store, f"{self.uri}/{name}.parquet", getattr(feedback, name))
        if feedback.head is not None:
            columns = [f"{place}" for place in range(feedback.head.shape[1])]
            write_table(self.artifact_store, f"{self.uri}/head.parquet", pd.DataFrame(feedback.head, columns=columns))
        facts = {name: getattr(feedback, name) for name in FACTS}
        facts |= {"ladder": asdict(feedback.ladder) if feedback.ladder else None, "recalibrated": feedback.head is not None}
        write_json(self.artifact_store, f"{self.uri}/facts.json", facts)

    def save_visualizations(self, feedback: FeedbackData) -> dict[str, VisualizationType]:
        path = f"{self.uri}/feedback.html"
        write_bytes(self.artifact_store, path, _report(feedback).encode())
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, feedback: FeedbackData) -> str:
        columns = ["request_id", "ground_truth", "role", "scene"]
        recent = feedback.recent[["request_id"]] if len(feedback.recent) else pd.DataFrame()
        chosen = f"{feedback.ladder.chosen} {feedback.ladder.num_images}" if feedback.ladder else ""
        return hash_of(
            hash_of_table(feedback.labelled[columns]), hash_of_table(recent), feedback.backbone, str(feedback.bias), chosen
        )


def _report(feedback: FeedbackData) -> str:
    labelled = feedback.labelled
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
        *([_ladder(feedback.ladder)] if feedback.ladder else []),
        html_pages.section("Roles", html_pages.table(["role", "labels"], [(role, int(counts.get(role, 0))) for role in ROLES])),
        html_pages.section("Awaiting approval", html_pages.table(header, rows) if rows else "<p>None.</p>"),
    )


def _ladder(ladder: Ladder) -> str:
    rows = [
        (
            rung.name + (" (chosen)" if rung.name == ladder.chosen else ""),
            rung.accuracy,
            f"{rung.low:.0%} to {rung.high:.0%}",
            rung.unchanged,
        )
        for rung in ladder.rungs
    ]
    header = ["way to retrain", "expected accuracy", "95 % interval", "on images as usual"]
    advice = f"<p>{html.escape(ladder.advice)}</p>" if ladder.advice else ""
    if ladder.num_images:
        advice += f"<p>Trained after it: the last blocks, on {ladder.num_images} retained images.</p>"
    return html_pages.section(f"Compared on {ladder.num_labels} labels by cross-fitting", html_pages.table(header, rows), advice)
