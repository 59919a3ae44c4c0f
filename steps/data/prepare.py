"""Make sure that every accepted picture is at hand as the model sees it."""

from pathlib import Path
from typing import Annotated

import pandas as pd
from zenml import step

from adapters import dvc
from classifier.data.prepared import PreparedPictures
from classifier.data.prepared import prepare as prepare_pictures
from classifier.data.schema import SPLIT_CATALOG, check_catalog
from classifier.data.settings import VersioningSettings
from classifier.data.versions import DataVersion, RawVersion
from classifier.workspace import Workspace
from materializers.prepared import PreparedMaterializer
from steps.caching import ON_CODE_AND_PREPARED


@step(cache_policy=ON_CODE_AND_PREPARED, output_materializers={"prepared": PreparedMaterializer})
def prepare(
    catalog: pd.DataFrame, raw_version: RawVersion, data_version: DataVersion, settings: VersioningSettings, side_pixels: int
) -> Annotated[PreparedPictures, "prepared"]:
    """Decode what ingest did not: pictures at another size, or shards that were lost."""
    workspace = Workspace.current()
    check_catalog(catalog, SPLIT_CATALOG)
    pictures = prepare_pictures(catalog, Path(raw_version.folder), workspace.prepared, side_pixels, data_version.version)
    if settings.enabled and settings.prepared:
        with dvc.data_lock(workspace):
            dvc.track(workspace.prepared, workspace, settings)
    return pictures
