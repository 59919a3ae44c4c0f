"""A batch prediction: the list of its images, and its summary with a page for the dashboard."""

import json
from collections import Counter
from pathlib import PurePosixPath
from typing import ClassVar

import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.batch_prediction.summary import BatchSummary
from materializers.artifact_files import hash_of, hash_of_table, read_json, read_table, write_bytes, write_json, write_table

MAX_FOLDERS = 50


class ImageListMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (pd.DataFrame,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA
    SKIP_REGISTRATION: ClassVar[bool] = True

    def load(self, data_type: type) -> pd.DataFrame:
        return read_table(self.artifact_store, f"{self.uri}/images.parquet")

    def save(self, images: pd.DataFrame) -> None:
        write_table(self.artifact_store, f"{self.uri}/images.parquet", images)

    def save_visualizations(self, images: pd.DataFrame) -> dict[str, VisualizationType]:
        path = f"{self.uri}/images.html"
        folders = Counter(str(name).rpartition("/")[0] for name in images["path"])
        endings = Counter(PurePosixPath(name).suffix.lower() or "none" for name in images["path"])
        lead = f"{len(images):,} files, {images['size'].clip(lower=0).sum() / 1e6:,.1f} MB where the size is known."
        page = html_pages.page(
            "Images to predict",
            lead,
            html_pages.section("Folders", html_pages.table(["folder", "files"], folders.most_common(MAX_FOLDERS))),
            html_pages.section("Endings", html_pages.table(["ending", "files"], endings.most_common())),
        )
        write_bytes(self.artifact_store, path, page.encode(errors="replace"))
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, images: pd.DataFrame) -> str:
        return hash_of_table(images)


class BatchSummaryMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (BatchSummary,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def load(self, data_type: type[BatchSummary]) -> BatchSummary:
        return BatchSummary.of_dict(read_json(self.artifact_store, f"{self.uri}/summary.json"))

    def save(self, summary: BatchSummary) -> None:
        write_json(self.artifact_store, f"{self.uri}/summary.json", summary.as_dict())

    def save_visualizations(self, summary: BatchSummary) -> dict[str, VisualizationType]:
        path = f"{self.uri}/batch.html"
        write_bytes(self.artifact_store, path, summary.page.encode(errors="replace"))
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, summary: BatchSummary) -> str:
        return hash_of(json.dumps(summary.as_dict(), sort_keys=True))
