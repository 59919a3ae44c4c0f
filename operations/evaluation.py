"""Evaluate a live service on labelled images."""

from dataclasses import dataclass
from pathlib import Path

from imageloop.adapters.endpoint_evaluation import LiveEvaluation, evaluate_endpoint
from imageloop.errors import ImageLoopError


@dataclass(frozen=True, kw_only=True)
class EndpointEvaluation(LiveEvaluation):
    """The evaluation of the endpoint at `url`."""

    url: str


def evaluate(url: str, folder: Path, clients: int, min_accuracy: float | None) -> EndpointEvaluation:
    """Accuracy, latency and errors of the endpoint at `url`.

    Raises: ImageLoopError where the accuracy is below `min_accuracy`, or a request failed.
    """
    measured = evaluate_endpoint(url, folder, clients)
    if min_accuracy is not None and measured.accuracy < min_accuracy:
        low, high = measured.interval
        raise ImageLoopError(
            f"the accuracy is too low at {url}: expected at least {min_accuracy:.1%}, got {measured.accuracy:.1%} "
            f"({low:.1%} to {high:.1%}, {measured.count} images)"
        )
    if min_accuracy is not None and measured.failed:
        raise ImageLoopError(f"expected a prediction for every image from {url}, got {measured.failed} failed requests")
    return EndpointEvaluation(url=url, **vars(measured))
