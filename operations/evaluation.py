"""Hold a live service against labelled pictures."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from imageloop.adapters.endpoint_evaluation import evaluate_endpoint
from imageloop.errors import ImageLoopError

NUM_SHOWN = 10


def evaluate(url: str, folder: Path, clients: int, min_accuracy: float | None) -> dict[str, Any]:
    """Accuracy, latency and errors of what answers at `url`.

    Raises: ImageLoopError where the accuracy is below `min_accuracy`, or a request failed.
    """
    found = evaluate_endpoint(url, folder, clients)
    if min_accuracy is not None and found.accuracy < min_accuracy:
        low, high = found.interval
        raise ImageLoopError(
            f"wanted an accuracy of at least {min_accuracy:.1%} at {url}, found {found.accuracy:.1%} ({low:.1%} to {high:.1%}, {found.count} pictures)"
        )
    if min_accuracy is not None and found.failed:
        raise ImageLoopError(f"wanted an answer to every picture from {url}, found {found.failed} failed requests")
    return {"url": url, **asdict(found)}


def describe(result: dict[str, Any]) -> str:
    low, high = result["interval"]
    recall = ", ".join(f"{name} {share:.1%}" for name, share in result["recall"].items())
    versions = ", ".join(f"{version} ({count})" for version, count in result["versions"].items())
    return "\n".join(
        [
            f"accuracy       {result['accuracy']:.1%} of {result['count']} pictures (95 %: {low:.1%} to {high:.1%}); {recall}",
            f"latency        p50 {result['p50_ms']:.1f} ms, p95 {result['p95_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms",
            f"errors         {result['failed']} failed, {result['refused']} refused",
            f"versions       {versions}",
            *(f"  {line}" for line in result["wrong"][:NUM_SHOWN]),
        ]
    )
