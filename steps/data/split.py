"""Assign every image to a split; images of earlier runs keep theirs."""

from typing import Annotated

import pandas as pd
from zenml import step

from imageloop.adapters import dvc
from imageloop.data.catalog_schema import check_catalog
from imageloop.data.data_checks import check_quarantined
from imageloop.data.settings import DataSettings
from imageloop.data.split_history import images_split_before, remember_splits
from imageloop.data.splits import split_catalog
from imageloop.workspace_paths import Workspace
from materializers.catalog import CatalogMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"catalog": CatalogMaterializer})
def split(valid_files: pd.DataFrame, settings: DataSettings) -> Annotated[pd.DataFrame, "catalog"]:
    """Split each class 80/10/10; near duplicates stay in one split, and images of earlier runs keep theirs."""
    workspace = Workspace.current(settings.data_set)
    with dvc.data_lock(workspace):  # two runs with a new image in common would give it two splits
        known = images_split_before(workspace, settings.split.seed)
        catalog = split_catalog(check_catalog(valid_files), known, settings.split, settings.duplicate_bits)
        check_quarantined(catalog, settings.max_quarantined)
        remember_splits(catalog, workspace)
    return catalog
