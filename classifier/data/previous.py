"""The catalog of the last run, `data/catalog.parquet`: the memory of which picture stands in which split."""

import logging

import pandas as pd

from classifier.data.schema import SPLIT_CATALOG, check_catalog
from classifier.errors import ImageLoopError
from classifier.files import replacing
from classifier.workspace import Workspace

logger = logging.getLogger(__name__)
NAME = "catalog.parquet"


def previous_catalog(workspace: Workspace) -> pd.DataFrame | None:
    """The last catalog, None where there is none yet.

    Raises: ImageLoopError where the file is damaged: going on without it would move pictures between splits.
    """
    file = workspace.data / NAME
    if not file.exists():
        return None
    try:
        return check_catalog(pd.read_parquet(file), SPLIT_CATALOG)
    except (OSError, ValueError, KeyError, ImageLoopError) as error:
        raise ImageLoopError(
            f"wanted the last catalog in '{file}', found a damaged file ({error}); bring it back with "
            "`dvc checkout data/catalog.parquet.dvc --force`, or delete it to split anew"
        ) from error


def keep_catalog(catalog: pd.DataFrame, workspace: Workspace) -> None:
    """Make this catalog the one that the next run goes by."""
    with replacing(workspace.data / NAME) as aside:
        catalog.to_parquet(aside)
