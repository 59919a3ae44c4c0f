"""A catalog between two steps: a parquet file, and in the dashboard the data report."""

from typing import ClassVar

import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop.data.catalog_schema import accepted, content_hash
from imageloop.data.data_report import data_report
from materializers.artifact_files import prepared_pictures, read_table, write_bytes, write_table


class CatalogMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (pd.DataFrame,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA
    SKIP_REGISTRATION: ClassVar[bool] = True  # named by the steps; other tables keep ZenML's own

    def load(self, data_type: type) -> pd.DataFrame:
        return read_table(self.artifact_store, f"{self.uri}/catalog.parquet")

    def save(self, catalog: pd.DataFrame) -> None:
        write_table(self.artifact_store, f"{self.uri}/catalog.parquet", catalog)

    def save_visualizations(self, catalog: pd.DataFrame) -> dict[str, VisualizationType]:
        path = f"{self.uri}/pictures.html"
        write_bytes(self.artifact_store, path, data_report(catalog, prepared_pictures()).encode(errors="replace"))
        return {path: VisualizationType.HTML}

    def extract_metadata(self, catalog: pd.DataFrame) -> dict[str, int | str]:
        good = accepted(catalog)
        return {"pictures": len(good), "classes": int(good["label"].nunique()), "put_aside": len(catalog) - len(good)}

    def compute_content_hash(self, catalog: pd.DataFrame) -> str:
        return content_hash(catalog)


class PlainCatalogMaterializer(CatalogMaterializer):
    """A catalog on its way to the finished one: kept, but not drawn each time."""

    def save_visualizations(self, catalog: pd.DataFrame) -> dict[str, VisualizationType]:
        return {}
