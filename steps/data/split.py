"""Give every picture its split, as earlier runs have it where they knew the picture."""

from typing import Annotated

import pandas as pd
from zenml import step

from imageloop.adapters import dvc
from imageloop.data.catalog_schema import check_catalog
from imageloop.data.settings import DataSettings
from imageloop.data.split_history import known_pictures, remember_splits
from imageloop.data.splits import split_catalog
from imageloop.workspace_paths import Workspace
from materializers.catalog import CatalogMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"catalog": CatalogMaterializer})
def split(valid_files: pd.DataFrame, settings: DataSettings) -> Annotated[pd.DataFrame, "catalog"]:
    """80/10/10 of each class; groups of duplicates whole; nobody moves who was here before."""
    workspace = Workspace.current()
    with dvc.data_lock(workspace):  # two runs with a new picture in common would give it two splits
        known = known_pictures(workspace, settings.split.seed)
        catalog = split_catalog(check_catalog(valid_files), known, settings.split, settings.duplicate_bits)
        remember_splits(catalog, workspace)
    return catalog
