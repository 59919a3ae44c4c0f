"""Validate the catalog with its pandera schema, and quarantine images that are in two classes."""

from typing import Annotated

import pandas as pd
from zenml import step

from imageloop.data.catalog_schema import check_catalog
from imageloop.data.duplicates import quarantine_contradictions
from imageloop.data.settings import DataSettings
from imageloop.data.splits import check_class_sizes
from materializers.catalog import PlainCatalogMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"valid_files": PlainCatalogMaterializer})
def validate(files: pd.DataFrame, settings: DataSettings) -> Annotated[pd.DataFrame, "valid_files"]:
    """Fail before anything is trained where there is not enough to learn from."""
    valid = quarantine_contradictions(check_catalog(files), settings.duplicate_bits)
    check_class_sizes(valid, settings.split)
    return valid
