"""Evaluate an endpoint: send labelled images over HTTP, several at a time, and compare the predictions with the labels."""

import logging
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

logger = logging.getLogger(__name__)
KEY_VARIABLE = "IMAGELOOP_API_KEY"  # what the service wants in X-API-Key, where it wants one
TIMEOUT_SECONDS = 30
BAD_IMAGE = (400, 413, 415, 422)
NUM_RETRIES = 3  # of a request that a full service refused


@dataclass(frozen=True)
class Asked:
    """The response for one image. `prediction` is None where it was refused or failed; `error` has the reason then."""

    path: str
    label: str
    prediction: str | None
    version: str
    milliseconds: float
    code: int
    error: str
    classes: tuple[str, ...] = ()  # of the model


@dataclass(frozen=True)
class LiveEvaluation:
    """Accuracy, latency and errors of a live endpoint. `refused`: responses that a bad image deserves; `failed`: all other errors."""

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
    """A folder of this machine, or a temporary copy of a remote one.

    Raises: SettingsError where the remote folder cannot be read.
    """
    if not lies_elsewhere(address):
        yield Path(address)
        return
    import fsspec

    with tempfile.TemporaryDirectory() as scratch:
        try:
            files, root = fsspec.core.url_to_fs(address)
            files.get(f"{root.rstrip('/')}/", f"{scratch}/", recursive=True)
        except Exception as error:  # each file system has errors of its own
            raise SettingsError(f"expected the folder '{address}', got: {error!r}") from error
        yield Path(scratch)


def evaluate_endpoint(url: str, folder: Path, clients: int) -> LiveEvaluation:
    """Send every labelled image below `folder` to `url` and compare the predictions with the labels.

    Raises: SettingsError for a folder without labelled images, ImageLoopError where the endpoint does not respond.
    """
    files = [file for file in list_files(folder) if file.label is not None]
    if not files:
        raise SettingsError(f"--data: expected one folder a class with images in it, got no labelled image below '{folder}'")
    with ThreadPoolExecutor(clients) as pool:
        asked = list(pool.map(lambda file: _ask(url, file), files))
    predicted = [one for one in asked if one.prediction is not None]
    if not predicted:
        raise ImageLoopError(f"expected responses from {url}, got none: {asked[0].error}")
    _check_classes({one.label for one in asked}, predicted[0].classes)
    right = [one for one in predicted if one.prediction == one.label]
    times = sorted(one.milliseconds for one in predicted)
    refused = sum(one.code in BAD_IMAGE for one in asked)
    return LiveEvaluation(
        count=len(predicted),
        accuracy=len(right) / len(predicted),
        interval=wilson(len(right), len(predicted)),
        recall=dict(_recalls(predicted)),
        refused=refused,
        failed=len(asked) - len(predicted) - refused,
        p50_ms=_quantile(times, 0.5),
        p95_ms=_quantile(times, 0.95),
        p99_ms=_quantile(times, 0.99),
        versions=dict(Counter(one.version for one in predicted)),
        wrong=[f"{one.path}: '{one.prediction}', is '{one.label}'" for one in predicted if one.prediction != one.label],
    )


def _check_classes(labels: set[str], classes: tuple[str, ...]) -> None:
    """Images of a new class count as wrong; a folder without any class of the model is another one's.

    Raises: SettingsError.
    """
    unknown = sorted(labels - set(classes))
    if len(unknown) == len(labels):
        raise SettingsError(
            f"--data: expected folders with the names of the model's classes ({', '.join(classes)}), got {', '.join(unknown)}"
        )
    if unknown:
        logger.warning("the model has no class %s: their images count as wrong", ", ".join(f"'{name}'" for name in unknown))


def _ask(url: str, file: FoundFile) -> Asked:
    key = os.environ.get(KEY_VARIABLE)
    headers = {"Content-Type": "application/octet-stream"} | ({"X-API-Key": key} if key else {})
    content, label = file.path.read_bytes(), file.label or ""
    for _ in range(NUM_RETRIES):
        begun = time.perf_counter()
        try:
            response = requests.post(f"{url.rstrip('/')}/predict", content, headers=headers, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            return Asked(file.name, label, None, "", 0.0, 0, type(error).__name__)
        milliseconds = 1000 * (time.perf_counter() - begun)
        if response.status_code not in (429, 503):
            break
        time.sleep(float(response.headers.get("Retry-After", 1)))
    if not response.ok:
        return Asked(file.name, label, None, "", milliseconds, response.status_code, f"HTTP {response.status_code}")
    body = response.json()
    return Asked(
        file.name,
        label,
        str(body["label"]),
        str(body["model"]["version"]),
        milliseconds,
        response.status_code,
        "",
        tuple(body["probabilities"]),
    )


def _recalls(predicted: Iterable[Asked]) -> Iterator[tuple[str, float]]:
    rows = list(predicted)
    for name in sorted({one.label for one in rows}):
        mine = [one.prediction == name for one in rows if one.label == name]
        yield name, sum(mine) / len(mine)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
