"""What the service remembers of an answer, and what it learns of the truth: one JSON line each, never a picture."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class PredictionRecord(BaseModel):
    """One answer. `request_id` is minted by us for each; a caller's own id stands beside it, for callers send anything."""

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


class FeedbackRecord(BaseModel):
    """The true label of an answer that was given before."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["feedback"] = "feedback"
    time: datetime
    request_id: str
    true_label: str
    source: str
