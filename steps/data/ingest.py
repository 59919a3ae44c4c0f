"""Images in: every file of the source is read once, and the raw images are tracked."""

from typing import Annotated

import pandas as pd
from zenml import step

from imageloop.adapters import dvc
from imageloop.adapters.ray_engine import open_engine
from imageloop.background_imports import loading
from imageloop.data.catalog import read_catalog
from imageloop.data.data_checks import check_usable
from imageloop.data.data_report import list_quarantined
from imageloop.data.data_version import RawVersion
from imageloop.data.ingestion import prepared_store
from imageloop.data.raw_folder import held_source, place
from imageloop.data.settings import DataSettings
from imageloop.data.sources.source_kinds import bring_in
from imageloop.execution_engine import work_on
from imageloop.workspace_paths import Workspace
from materializers.catalog import PlainCatalogMaterializer
from materializers.json_record import RecordMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"files": PlainCatalogMaterializer, "raw_version": RecordMaterializer})
def ingest(
    settings: DataSettings,
    side_pixels: int,
    fingerprint: str,
) -> tuple[Annotated[pd.DataFrame, "files"], Annotated[RawVersion, "raw_version"]]:
    """Fetch the source, decode new images, and quarantine unusable ones with a reason.

    `fingerprint` identifies the source's content, so that a changed folder is read again, and the content of `data/raw`,
    so that a data set that another one has replaced is fetched again.
    """
    workspace = Workspace.current(settings.data_set)
    with dvc.data_lock(workspace), work_on(open_engine):
        folder = bring_in(settings.source, workspace.downloads, dvc.fetch_source)
        store = prepared_store(workspace.prepared, side_pixels)
        if settings.versioning.enabled and held_source(workspace) not in ("", fingerprint):
            # the images of the last training are replaced below: not by what nothing can be trained on
            files = read_catalog(folder, settings.source.kind, store, side_pixels, settings.limits)
            list_quarantined(files, workspace.quarantined)
            check_usable(files, settings)
        raw = place(folder, workspace, fingerprint, settings.retained_images) if settings.versioning.enabled else folder
        with loading(*dvc.LIBRARIES if settings.versioning.enabled else ()):
            files = read_catalog(raw, settings.source.kind, store, side_pixels, settings.limits)
        list_quarantined(files, workspace.quarantined)
        pointer = dvc.track_images(raw, workspace, settings.versioning) if settings.versioning.enabled else ""
    return files, RawVersion(folder=str(raw), pointer=pointer, fingerprint=fingerprint)
