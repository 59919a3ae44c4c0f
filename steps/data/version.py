"""Version the data with DVC."""

from typing import Annotated

import pandas as pd
from zenml import log_metadata, step

from imageloop.adapters import dvc
from imageloop.data.catalog_schema import SPLIT_CATALOG, check_catalog, content_hash
from imageloop.data.data_version import DataVersion, RawVersion
from imageloop.data.settings import DataSettings
from imageloop.data.split_history import NAME, keep_catalog
from imageloop.workspace_paths import Workspace
from materializers.json_record import RecordMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"data_version": RecordMaterializer})
def version(catalog: pd.DataFrame, raw_version: RawVersion, settings: DataSettings) -> Annotated[DataVersion, "data_version"]:
    """Store the catalog for the next run, and track it with the images."""
    workspace = Workspace.current(settings.data_set)
    number = content_hash(check_catalog(catalog, SPLIT_CATALOG))
    with dvc.data_lock(workspace):
        keep_catalog(catalog, workspace)
        pointer = dvc.track(workspace.data / NAME, workspace, settings.versioning) if settings.versioning.enabled else ""
    log_metadata({"data_version": number}, infer_artifact=True)
    return DataVersion(version=number, raw_pointer=raw_version.pointer, catalog_pointer=pointer)
