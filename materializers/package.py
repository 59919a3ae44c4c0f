"""Stores a model package file by file; the dashboard shows its files and its model card."""

from pathlib import Path
from typing import ClassVar

from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop import html_pages
from imageloop.model.package import MODEL_CARD, read_info
from imageloop.promotion.step_artifacts import ModelPackage
from materializers.artifact_files import read_bytes, write_bytes


class PackageMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (ModelPackage,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def load(self, data_type: type) -> ModelPackage:
        with self.get_temporary_directory(delete_at_exit=False) as temporary:  # deleted after the step
            folder = Path(temporary)
        for name in self.artifact_store.listdir(self.uri):
            if not str(name).endswith(".html"):
                (folder / str(name)).write_bytes(read_bytes(self.artifact_store, f"{self.uri}/{name}"))
        return ModelPackage(folder)

    def save(self, package: ModelPackage) -> None:
        for path in package.files():
            write_bytes(self.artifact_store, f"{self.uri}/{path.name}", path.read_bytes())

    def save_visualizations(self, package: ModelPackage) -> dict[str, VisualizationType]:
        info = read_info(package.folder).model_dump(mode="json")
        files = html_pages.table(["file", "bytes"], [(path.name, path.stat().st_size) for path in package.files()])
        fields = html_pages.table(["", ""], [(name, str(value)) for name, value in info.items()])
        path = f"{self.uri}/package.html"
        write_bytes(self.artifact_store, path, html_pages.page("The model package", "What is served.", files, fields).encode())
        card = package.folder / MODEL_CARD
        if not card.exists():  # until it is signed
            return {path: VisualizationType.HTML}
        return {path: VisualizationType.HTML, f"{self.uri}/{MODEL_CARD}": VisualizationType.MARKDOWN}

    def compute_content_hash(self, package: ModelPackage) -> str:
        return package.digest()
