"""What a caller hands in to be predicted, and what the service predicts for it."""

import hmac
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from seldon.service.request_errors import RequestError
from seldon.service.rollout_requests import SALT_VARIABLE
from seldon.service.seldon_messages import Contents

LARGE_FILE_BYTES = 2**20  # its decoding may take longer than several predictions
# A site's own secret (`seldon/delivery/clusters/open_cluster.py` makes one): with it a caller's name can be found by trying names.
SOURCE_SALT = os.environ.get(SALT_VARIABLE, "imageloop").encode()


@dataclass(frozen=True)
class Identity:
    """The model, its version, and the predictor that serves it. `scope`: as of `ServingPlace`."""

    model_name: str
    model_version: str
    predictor: str
    scope: str = ""

    @property
    def label(self) -> str:
        """The predictor in the metrics of its process."""
        return f"{self.scope}/{self.predictor}" if self.scope else self.predictor


@dataclass(frozen=True)
class ServedPrediction:
    """The prediction for one image; feedback refers to its `request_id`.

    `in_distribution`: whether the image resembles the training data; None where the package has no novelty reference.
    """

    request_id: str
    label: str
    probability: float
    probabilities: dict[str, float]
    novelty: float | None = None
    in_distribution: bool | None = None
    model_version: str = ""

    def shown(self) -> dict[str, Any]:
        """The prediction as `/predict` responds with it."""
        return {
            "request_id": self.request_id,
            "label": self.label,
            "probability": self.probability,
            "probabilities": self.probabilities,
            "in_distribution": self.in_distribution,
        }


def whole(predictions: Sequence[ServedPrediction | RequestError]) -> list[ServedPrediction]:
    """The predictions of a request that is answered as a whole. Raises: RequestError, the first of an image."""
    served = []
    for number, one in enumerate(predictions, 1):
        if isinstance(one, RequestError):
            of = f"image {number} of {len(predictions)}: " if len(predictions) > 1 else ""
            raise RequestError(one.code, one.reason, of + one.info, one.retry_after_seconds)
        served.append(one)
    return served


def tags_of(predictions: Sequence[ServedPrediction | RequestError]) -> dict[str, Any]:
    """The tags of a Seldon response about its images; a refused one has nulls, and its error under its number."""
    usable = [one if isinstance(one, ServedPrediction) else None for one in predictions]
    errors = {f"{number}": one.shown() for number, one in enumerate(predictions) if isinstance(one, RequestError)}
    tags: dict[str, Any] = {
        "labels": [one and one.label for one in usable],
        "request_ids": [one and one.request_id for one in usable],
        "in_distribution": [one and one.in_distribution for one in usable],
    }
    return tags | ({"errors": errors} if errors else {})


@dataclass(frozen=True)
class Stage:
    """A part of the work on a request, for its trace; in nanoseconds since 1970."""

    name: str
    begun: int
    ended: int
    attributes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PredictionRequest:
    """The images of one caller. `stored`: with a record and in the metrics; `is_abandoned`: whether the caller has gone.

    `stages`: gets a stage for each part of the work, where the request is traced.
    """

    contents: Contents
    caller_id: str | None
    source: str
    stored: bool = True
    is_abandoned: Callable[[], bool] = lambda: False
    begun: float = field(default_factory=time.perf_counter)
    stages: list[Stage] | None = None

    def note(self, name: str, begun: int, **attributes: int) -> None:
        """Note a stage that ends now, where the request is traced."""
        if self.stages is not None:
            self.stages.append(Stage(name, begun, time.time_ns(), attributes))

    def refuse_abandoned(self) -> None:
        """End work whose caller has closed the connection, as a gateway does when a deadline has passed.

        Raises: RequestError, which nobody reads.
        """
        if self.is_abandoned():
            raise RequestError(499, "abandoned", "the caller closed the connection before its turn came")

    def is_large(self) -> bool:
        """Whether others should not wait for it."""
        return len(self.contents) > 1 or (isinstance(self.contents[0], bytes) and len(self.contents[0]) > LARGE_FILE_BYTES)


def source_of(route: str, client: str | None) -> str:
    """Return a pseudonym of the caller, for the limit of feedback from one source; the name cannot be found from it."""
    return route if not client else f"{route}:{hmac.digest(SOURCE_SALT, client.encode(), 'sha256').hex()[:16]}"
