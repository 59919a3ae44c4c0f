"""Prepared images between two steps: which ones; the pixels lie in the content-addressed store."""

from typing import ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.data.prepared_images import PreparedImages
from materializers.artifact_files import (
    hash_of,
    hash_of_table,
    prepared_images,
    read_json,
    read_table,
    write_bytes,
    write_json,
    write_table,
)

NUM_SHOWN = 48


class PreparedMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (PreparedImages,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def load(self, data_type: type) -> PreparedImages:
        table = read_table(self.artifact_store, f"{self.uri}/index.parquet")
        return PreparedImages(table, **read_json(self.artifact_store, f"{self.uri}/description.json"))

    def save(self, images: PreparedImages) -> None:
        write_table(self.artifact_store, f"{self.uri}/index.parquet", images.table)
        description = _description(images) | {"raw_folder": images.raw_folder}  # a path is no content: not hashed
        write_json(self.artifact_store, f"{self.uri}/description.json", description)

    def save_visualizations(self, images: PreparedImages) -> dict[str, VisualizationType]:
        read_image = prepared_images(images.side_pixels)
        shown = images.table.sort_values("sha256").head(NUM_SHOWN)
        figures = html_pages.grid(
            html_pages.image(read_image(row.sha256), f"{row.label} ({row.split})") for row in shown.itertuples()
        )
        lead = f"{len(images.table):,} images of {images.side_pixels} x {images.side_pixels} pixels, as the model sees them."
        path = f"{self.uri}/images.html"
        write_bytes(self.artifact_store, path, html_pages.page("Prepared images", lead, figures).encode())
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, images: PreparedImages) -> str:
        return hash_of(hash_of_table(images.table), str(_description(images)))


def _description(images: PreparedImages) -> dict[str, object]:
    return {"class_names": images.class_names, "side_pixels": images.side_pixels, "data_version": images.data_version}
