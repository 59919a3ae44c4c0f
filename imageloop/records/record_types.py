"""The prediction record and the feedback record: one JSON line each, never an image."""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, BaseModel, ConfigDict, Field


class PredictionRecord(BaseModel):
    """One prediction. The service makes `request_id`; `caller_id` is the client's own id.

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
    """The ground truth of an earlier prediction. `feedback_id` identifies it, however often the line is read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["feedback"] = "feedback"
    time: datetime
    request_id: str
    ground_truth: str = Field(validation_alias=AliasChoices("ground_truth", "true_label"))  # as services before 0.2.0 wrote it
    source: str
    feedback_id: str = ""


def encode_embedding(embedding_D: NDArray[np.float32]) -> str:
    return b64encode(embedding_D.astype(np.float16).tobytes()).decode()


def decode_embedding(text: str) -> bytes:
    """The float16 values as bytes, as the database stores them."""
    return b64decode(text)
