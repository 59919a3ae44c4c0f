"""Prepared pictures between two steps: which ones; the pixels lie in the content-addressed store."""

from typing import ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.data.prepared_images import PreparedPictures
from materializers.artifact_files import (
    hash_of,
    hash_of_table,
    prepared_pictures,
    read_json,
    read_table,
    write_bytes,
    write_json,
    write_table,
)

NUM_SHOWN = 48


class PreparedMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (PreparedPictures,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def load(self, data_type: type) -> PreparedPictures:
        table = read_table(self.artifact_store, f"{self.uri}/index.parquet")
        return PreparedPictures(table, **read_json(self.artifact_store, f"{self.uri}/description.json"))

    def save(self, pictures: PreparedPictures) -> None:
        write_table(self.artifact_store, f"{self.uri}/index.parquet", pictures.table)
        description = _description(pictures) | {"raw_folder": pictures.raw_folder}  # a place is no content: not hashed
        write_json(self.artifact_store, f"{self.uri}/description.json", description)

    def save_visualizations(self, pictures: PreparedPictures) -> dict[str, VisualizationType]:
        look = prepared_pictures(pictures.side_pixels)
        shown = pictures.table.sort_values("sha256").head(NUM_SHOWN)
        figures = html_pages.grid(
            html_pages.picture(look(row.sha256), f"{row.label} ({row.split})") for row in shown.itertuples()
        )
        lead = (
            f"{len(pictures.table):,} pictures of {pictures.side_pixels} x {pictures.side_pixels} pixels, as the model sees them."
        )
        path = f"{self.uri}/pictures.html"
        write_bytes(self.artifact_store, path, html_pages.page("Prepared pictures", lead, figures).encode())
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, pictures: PreparedPictures) -> str:
        return hash_of(hash_of_table(pictures.table), str(_description(pictures)))


def _description(pictures: PreparedPictures) -> dict[str, object]:
    return {"class_names": pictures.class_names, "side_pixels": pictures.side_pixels, "data_version": pictures.data_version}
