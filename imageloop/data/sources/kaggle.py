"""Kaggle data sets and competitions, through Kaggle's own client."""

import os
from collections.abc import Mapping
from pathlib import Path

from imageloop.data.settings import KaggleSource
from imageloop.errors import ImageLoopError, SettingsError

CREDENTIALS = (("KAGGLE_API_TOKEN",), ("KAGGLE_USERNAME", "KAGGLE_KEY"))


def check_kaggle(key: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raises: SettingsError where the environment holds no credentials."""
    if not any(all(environment.get(name) for name in names) for names in CREDENTIALS):
        raise SettingsError(
            f"{key}: expected Kaggle's credentials, got none in the environment; "
            "set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY (kaggle.com, Settings, API)"
        )


def bring_kaggle(source: KaggleSource) -> Path:
    """Download the data set, or use Kaggle's own cache, and return the folder with the images."""
    check_kaggle("data.source.handle")
    import kagglehub  # slow to load, and needed by this source alone

    download = kagglehub.dataset_download if "/" in source.handle else kagglehub.competition_download
    try:
        folder = Path(download(source.handle)) / source.folder
    except Exception as error:  # the client raises whatever its HTTP library does
        raise ImageLoopError(
            f"expected '{source.handle}' from Kaggle, got: {error}; check the name, the credentials, "
            "and that you accepted the rules on its page"
        ) from error
    if not folder.is_dir():
        raise ImageLoopError(f"expected the folder '{source.folder}' in '{source.handle}', got none; see data.source.folder")
    return folder
