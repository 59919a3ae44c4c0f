"""Validate the catalog with its pandera schema, and see that enough of each class is usable."""

from typing import Annotated

import pandas as pd
from zenml import step

from imageloop.data.data_checks import check_usable
from imageloop.data.settings import DataSettings
from materializers.catalog import PlainCatalogMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"valid_files": PlainCatalogMaterializer})
def validate(files: pd.DataFrame, settings: DataSettings) -> Annotated[pd.DataFrame, "valid_files"]:
    """Fail before anything is trained where there is not enough to learn from."""
    check_usable(files, settings)
    return files
