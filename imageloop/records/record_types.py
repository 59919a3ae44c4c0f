"""What the service remembers of an answer, and what it learns of the truth: one JSON line each, never a picture."""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict


class PredictionRecord(BaseModel):
    """One answer. `request_id` is minted by us for each; a caller's own id stands beside it, for callers send anything.

    `statistics` are those of `imageloop.data.image_statistics`; `embedding` is float16 in base64; what older services did not
    write is None.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    kind: Literal["prediction"] = "prediction"
    time: datetime
    request_id: str
    caller_id: str | None = None
    model_name: str
    model_version: str
    predictor: str
    sha256: str
    size_bytes: int
    label: str
    probabilities: dict[str, float]
    latency_ms: float
    source: str
    width: int | None = None
    height: int | None = None
    format: str | None = None
    statistics: dict[str, float] | None = None
    embedding: str | None = None
    novelty: float | None = None
    in_distribution: bool | None = None


class FeedbackRecord(BaseModel):
    """The true label of an answer that was given before. `feedback_id` tells one word from the next, however often it is read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["feedback"] = "feedback"
    time: datetime
    request_id: str
    true_label: str
    source: str
    feedback_id: str = ""


def encode_embedding(embedding_D: NDArray[np.float32]) -> str:
    return b64encode(embedding_D.astype(np.float16).tobytes()).decode()


def decode_embedding(text: str) -> bytes:
    """The float16 values as bytes, as the database keeps them."""
    return b64decode(text)
