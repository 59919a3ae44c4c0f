"""Make sure that every accepted image is at hand as the model sees it."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd
from zenml import step

from imageloop.adapters import dvc
from imageloop.adapters.ray_engine import open_engine
from imageloop.data.catalog_schema import SPLIT_CATALOG, check_catalog
from imageloop.data.data_version import DataVersion, RawVersion
from imageloop.data.prepared_images import ImagesGoneError, PreparedImages
from imageloop.data.prepared_images import prepare as prepare_images
from imageloop.data.settings import VersioningSettings
from imageloop.execution_engine import work_on
from imageloop.workspace_paths import Workspace
from materializers.prepared import PreparedMaterializer
from steps.cache_keys import ON_CODE_AND_PREPARED


@step(cache_policy=ON_CODE_AND_PREPARED, output_materializers={"prepared": PreparedMaterializer})
def prepare(
    catalog: pd.DataFrame, raw_version: RawVersion, data_version: DataVersion, settings: VersioningSettings, side_pixels: int
) -> Annotated[PreparedImages, "prepared"]:
    """Decode what ingest did not: images at another size, or shards that were lost."""
    workspace = Workspace.current()
    check_catalog(catalog, SPLIT_CATALOG)
    prepared_from = partial(prepare_images, catalog, workspace.prepared, side_pixels, data_version.version)
    with work_on(open_engine):
        try:
            images = prepared_from(Path(raw_version.folder))
        except ImagesGoneError:  # another data set is there now: check this one out of DVC
            if not raw_version.pointer:
                raise
            with tempfile.TemporaryDirectory(dir=workspace.state) as scratch:
                dvc.restore(raw_version.pointer, Path(scratch, "raw"), workspace, settings.remote)
                images = prepared_from(Path(scratch, "raw"))
    if settings.enabled and settings.prepared:
        with dvc.data_lock(workspace):
            dvc.track(workspace.prepared, workspace, settings)
    return images
