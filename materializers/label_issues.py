"""Label issues: a table, and in the dashboard the images, ranked."""

from typing import ClassVar

import pandas as pd
from zenml.enums import ArtifactType, VisualizationType
from zenml.materializers.base_materializer import BaseMaterializer

from imageloop.promotion.evaluation_report import label_issues_report
from materializers.artifact_files import hash_of_table, prepared_images, read_table, write_bytes, write_table


class LabelIssuesMaterializer(BaseMaterializer):
    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (pd.DataFrame,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS
    SKIP_REGISTRATION: ClassVar[bool] = True

    def load(self, data_type: type) -> pd.DataFrame:
        return read_table(self.artifact_store, f"{self.uri}/issues.parquet")

    def save(self, issues: pd.DataFrame) -> None:
        write_table(self.artifact_store, f"{self.uri}/issues.parquet", issues)

    def save_visualizations(self, issues: pd.DataFrame) -> dict[str, VisualizationType]:
        path = f"{self.uri}/issues.html"
        write_bytes(self.artifact_store, path, label_issues_report(issues, prepared_images()).encode())
        return {path: VisualizationType.HTML}

    def compute_content_hash(self, issues: pd.DataFrame) -> str:
        return hash_of_table(issues)
