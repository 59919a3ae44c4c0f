"""A catalog between two steps: a parquet file, and in the dashboard the data report."""

from typing import ClassVar

import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop.data.catalog_schema import accepted, content_hash
from imageloop.data.data_report import data_report
from materializers.artifact_files import prepared_images, read_table, write_bytes, write_table


class CatalogMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (pd.DataFrame,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA
    SKIP_REGISTRATION: ClassVar[bool] = True  # named by the steps; other tables use ZenML's own materializer

    def load(self, data_type: type) -> pd.DataFrame:
        return read_table(self.artifact_store, f"{self.uri}/catalog.parquet")

    def save(self, catalog: pd.DataFrame) -> None:
        write_table(self.artifact_store, f"{self.uri}/catalog.parquet", catalog)

    def save_visualizations(self, catalog: pd.DataFrame) -> dict[str, VisualizationType]:
        path = f"{self.uri}/images.html"
        write_bytes(self.artifact_store, path, data_report(catalog, prepared_images()).encode(errors="replace"))
        return {path: VisualizationType.HTML}

    def extract_metadata(self, catalog: pd.DataFrame) -> dict[str, int | str]:
        good = accepted(catalog)
        return {"images": len(good), "classes": int(good["label"].nunique()), "quarantined": len(catalog) - len(good)}

    def compute_content_hash(self, catalog: pd.DataFrame) -> str:
        return content_hash(catalog)


class PlainCatalogMaterializer(CatalogMaterializer):
    """An intermediate catalog: stored without a report."""

    def save_visualizations(self, catalog: pd.DataFrame) -> dict[str, VisualizationType]:
        return {}
