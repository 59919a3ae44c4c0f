"""Retained images as files that a batch prediction reads: `records://NAMESPACE/NAME?label=cat&max_probability=0.6`.

A query on the records chooses them. They stay encrypted where they are: each is decrypted in memory when it is read.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import fsspec
from fsspec.spec import AbstractFileSystem

from imageloop.errors import ImageLoopError, SettingsError
from imageloop.lifecycle.feedback_for_training import collected_records
from imageloop.records.retained_images import SUFFIX, WAITING, folder_of, images_by_request, read_image
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    import pandas as pd

PROTOCOL = "records"
Query = dict[str, Any]
FILTERS: dict[str, Callable[["pd.DataFrame", Any], "pd.Series[bool]"]] = {
    "label": lambda table, value: table["label"] == value,
    "version": lambda table, value: table["model_version"] == value,
    "min_probability": lambda table, value: table["confidence"] >= value,
    "max_probability": lambda table, value: table["confidence"] <= value,
    "since": lambda table, value: table["time"] >= value,
    "until": lambda table, value: table["time"] < value,
}
RecordsOf = Callable[[str, str], Path | None]


def offer_retained_images(records_of: RecordsOf, workspace: Workspace, identity: Path) -> None:
    """Let addresses that begin with `records://` be read in this process.

    `records_of`: the folder of records of a deployment, by namespace and name. `identity`: the file of the key that decrypts images.
    """

    class Files(RetainedImageFiles):
        def __init__(self, **options: Any) -> None:
            super().__init__(records_of, workspace, identity, **options)

    fsspec.register_implementation(PROTOCOL, Files, clobber=True)


class RetainedImageFiles(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """The retained images of deployments: NAMESPACE/NAME/REQUEST_ID each, listed by NAMESPACE/NAME?QUERY."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, records_of: RecordsOf, workspace: Workspace, identity: Path, **options: Any) -> None:
        super().__init__(**options)
        self._records_of, self._workspace, self._identity = records_of, workspace, identity

    def find(
        self, path: str, maxdepth: int | None = None, *, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> Any:
        """List the images that a query chooses. Raises: SettingsError for a query of other words, ImageLoopError without records here."""
        place, _, asked = path.partition("?")
        folder = self._records(place)
        images = images_by_request(folder)
        if asked:
            images = {name: images[name] for name in self._chosen(folder, _parsed(asked), list(images))}
        found = {
            f"{place}/{name}": {"name": f"{place}/{name}", "size": one.size_bytes, "type": "file", "mtime": one.time}
            for name, one in images.items()
        }
        return found if detail else list(found)

    def exists(self, path: str, **options: Any) -> bool:
        """Whether there are records of the deployment; a query may choose none of its images."""
        return self._records(path.partition("?")[0]).is_dir()

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        """Decrypt an image. Raises: FileNotFoundError for one that is gone, ImageLoopError for another key."""
        place, _, name = path.rpartition("/")
        folder = folder_of(self._records(place))
        held = [folder / f"{name}{SUFFIX}", *(folder / WAITING).glob(f"{name}-*{SUFFIX}")]
        file = next((file for file in held if file.exists()), None)
        if file is None:
            raise FileNotFoundError(f"no retained image of the request '{name}'")
        return read_image(name, file, self._identity)[start:end]

    def _records(self, place: str) -> Path:
        namespace, _, name = place.partition("/")
        if not name or "/" in name:
            raise SettingsError(
                f"inputs: expected records://NAMESPACE/NAME, as status shows a deployment, got 'records://{place}'"
            )
        records = self._records_of(namespace, name)
        if records is None:
            raise ImageLoopError("the folder of the service's records is not on this machine: its cluster stores them elsewhere")
        return records

    def _chosen(self, records: Path, query: Query, request_ids: list[str]) -> list[str]:
        with collected_records(records, self._workspace) as (database, _):
            table = database.predictions_for(request_ids)
        for name, value in query.items():
            table = table[FILTERS[name](table, value)]
        return list(table["request_id"])


def _parsed(query: str) -> Query:
    """Raises: SettingsError for a word that no filter has, and for a value that it cannot be compared with."""
    parsed: Query = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in FILTERS:
            raise SettingsError(f"inputs: expected a query of {', '.join(FILTERS)}, got '{name}'")
        try:
            parsed[name] = _value(name, value)
        except ValueError as error:
            expected = "a day or a time such as 2026-11-30" if name in ("since", "until") else "a number from 0 to 1"
            raise SettingsError(f"inputs: expected {expected} for {name}, got '{value}'") from error
    return parsed


def _value(name: str, value: str) -> str | float:
    if name in ("since", "until"):
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return float(value) if name.endswith("_probability") else value
