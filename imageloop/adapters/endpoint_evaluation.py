"""Ask a service over HTTP, many pictures at a time, as its callers do."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from imageloop.data.sources.folder import FoundFile, list_files
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.intervals import Interval, wilson

KEY_VARIABLE = "IMAGELOOP_API_KEY"  # what the service wants in X-API-Key, where it wants one
TIMEOUT_SECONDS = 30
BAD_PICTURE = (400, 413, 415, 422)
NUM_RETRIES = 3  # of a request that a full service told to come again


@dataclass(frozen=True)
class Asked:
    """One picture: what came back. `label` is None where it was refused or failed; `error` says why then."""

    path: str
    truth: str
    label: str | None
    version: str
    milliseconds: float
    code: int
    error: str


@dataclass(frozen=True)
class LiveEvaluation:
    """How a live endpoint fared. `refused`: answers that a bad picture deserves; `failed`: all other errors."""

    count: int
    accuracy: float
    interval: Interval
    recall: dict[str, float]
    refused: int
    failed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    versions: dict[str, int]
    wrong: list[str]


def lies_elsewhere(address: str) -> bool:
    """Whether it is a folder as fsspec knows it, `s3://bucket/labelled`, and none of this machine."""
    return "://" in address


@contextmanager
def folder_of(address: str) -> Iterator[Path]:
    """A folder of this machine as it is, or a copy of one that lies elsewhere, for as long as the block lasts.

    Raises: SettingsError where nothing can be had from there.
    """
    if not lies_elsewhere(address):
        yield Path(address)
        return
    import fsspec

    with tempfile.TemporaryDirectory() as scratch:
        try:
            files, root = fsspec.core.url_to_fs(address)
            files.get(f"{root.rstrip('/')}/", f"{scratch}/", recursive=True)
        except Exception as error:  # each kind of place has errors of its own
            raise SettingsError(f"wanted the folder '{address}', found: {error!r}") from error
        yield Path(scratch)


def evaluate_endpoint(url: str, folder: Path, clients: int) -> LiveEvaluation:
    """Send every labelled picture below `folder` to `url` and hold the answers against the labels.

    Raises: SettingsError for a folder without labelled pictures, ImageLoopError where nothing answers.
    """
    files = [file for file in list_files(folder) if file.label is not None]
    if not files:
        raise SettingsError(f"--data: wanted one folder a class with pictures in it, found no labelled picture below '{folder}'")
    with ThreadPoolExecutor(clients) as pool:
        asked = list(pool.map(lambda file: _ask(url, file), files))
    answered = [one for one in asked if one.label is not None]
    if not answered:
        raise ImageLoopError(f"wanted answers from {url}, found none: {asked[0].error}")
    right = [one for one in answered if one.label == one.truth]
    times = sorted(one.milliseconds for one in answered)
    refused = sum(one.code in BAD_PICTURE for one in asked)
    return LiveEvaluation(
        count=len(answered),
        accuracy=len(right) / len(answered),
        interval=wilson(len(right), len(answered)),
        recall=dict(_recalls(answered)),
        refused=refused,
        failed=len(asked) - len(answered) - refused,
        p50_ms=_quantile(times, 0.5),
        p95_ms=_quantile(times, 0.95),
        p99_ms=_quantile(times, 0.99),
        versions=dict(Counter(one.version for one in answered)),
        wrong=[f"{one.path}: '{one.label}', is '{one.truth}'" for one in answered if one.label != one.truth],
    )


def _ask(url: str, file: FoundFile) -> Asked:
    key = os.environ.get(KEY_VARIABLE)
    headers = {"Content-Type": "application/octet-stream"} | ({"X-API-Key": key} if key else {})
    content, truth = file.path.read_bytes(), file.label or ""
    for _ in range(NUM_RETRIES):
        begun = time.perf_counter()
        try:
            answer = requests.post(f"{url.rstrip('/')}/predict", content, headers=headers, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            return Asked(file.name, truth, None, "", 0.0, 0, type(error).__name__)
        milliseconds = 1000 * (time.perf_counter() - begun)
        if answer.status_code not in (429, 503):
            break
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    if not answer.ok:
        return Asked(file.name, truth, None, "", milliseconds, answer.status_code, f"HTTP {answer.status_code}")
    found = answer.json()
    return Asked(file.name, truth, str(found["label"]), str(found["model"]["version"]), milliseconds, answer.status_code, "")


def _recalls(answered: Iterable[Asked]) -> Iterator[tuple[str, float]]:
    rows = list(answered)
    for name in sorted({one.truth for one in rows}):
        mine = [one.label == name for one in rows if one.truth == name]
        yield name, sum(mine) / len(mine)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
