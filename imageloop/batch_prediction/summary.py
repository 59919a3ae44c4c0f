"""What a batch prediction shows as a whole: counts, confidence, refused files, and drift against the model's reference."""

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from imageloop.batch_prediction.job import BatchJob, read_part
from imageloop.batch_prediction.part_table import EMBEDDING
from imageloop.data.image_statistics import NAMES
from imageloop.embeddings.accuracy_estimator import AccuracyEstimator
from imageloop.embeddings.drift_samples import frozen_scene_distance, read_reference
from imageloop.embeddings.novelty import Novelty
from imageloop.model.package import read_info
from imageloop.monitoring.drift_settings import DriftSettings
from imageloop.monitoring.windows import Window, measure_window
from imageloop.shared_folder import SharedFolder

NUM_EXAMPLES = 12
MIN_SAMPLED = 20  # fewer show no drift
NUM_BINS = 10


@dataclass(frozen=True)
class ExampleImage:
    """An image of the input and its prediction. Units: `probability` in [0, 1]; `novelty`: None where the package has no reference."""

    path: str
    label: str
    probability: float
    novelty: float | None


@dataclass(frozen=True)
class BatchSummary:
    """The whole of a batch prediction.

    `labels`: images by predicted class. `refused`: files by reason. `confidence`: images by tenths of their probability.
    `out_of_distribution`: how many, None where the package has no reference. `window`: the sampled images against the reference.
    `page`: of the report, made once; it is stored beside the parts and in the dashboard, and not read again.
    """

    output: str
    model_name: str
    model_version: str
    precision: str
    num_images: int
    num_refused: int
    labels: dict[str, int]
    refused: dict[str, int]
    confidence: list[int]
    out_of_distribution: int | None
    window: Window | None
    least_confident: list[ExampleImage] = field(default_factory=list)
    most_unusual: list[ExampleImage] = field(default_factory=list)
    page: str = field(default="", repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON, without the page."""
        values = asdict(self)
        del values["page"]
        return values

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> Self:
        """The opposite of `as_dict`."""
        examples = {name: [ExampleImage(**one) for one in values[name]] for name in ("least_confident", "most_unusual")}
        return cls(**{**values, **examples, "window": Window.of_metrics(values["window"]) if values["window"] else None})


def summarize(output: SharedFolder, job: BatchJob, package: Path, drift: DriftSettings) -> BatchSummary:
    """Read all parts, one at a time.

    Raises: ImageLoopError for a part that is gone or damaged.
    """
    counts = _Counts()
    sampled = [counts.add(read_part(output, name)) for name in job.parts]
    records = pd.concat([_as_records(table, job.class_names) for table in sampled], ignore_index=True)
    return BatchSummary(
        output=output.url,
        model_name=job.model_name,
        model_version=job.model_version,
        precision=job.precision,
        num_images=job.num_images,
        num_refused=sum(counts.refused.values()),
        labels={name: counts.labels[name] for name in job.class_names if counts.labels[name]},
        refused=dict(counts.refused.most_common()),
        confidence=counts.confidence.tolist(),
        out_of_distribution=counts.out_of_distribution,
        window=_window(records, package, drift),
        least_confident=counts.least_confident,
        most_unusual=counts.most_unusual,
    )


class _Counts:
    """What is counted part by part."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.confidence = np.zeros(NUM_BINS, int)
        self.out_of_distribution: int | None = None
        self.least_confident: list[ExampleImage] = []
        self.most_unusual: list[ExampleImage] = []

    def add(self, part: pd.DataFrame) -> pd.DataFrame:
        """Count a part, and return its sampled rows."""
        self.refused.update(part["reason"].dropna())
        predicted = part[part["reason"].isna()]
        self.labels.update(predicted["label"])
        self.confidence += np.histogram(predicted["probability"], NUM_BINS, (0, 1))[0]
        judged = predicted["in_distribution"].dropna()
        if len(judged):
            self.out_of_distribution = (self.out_of_distribution or 0) + int((~judged.astype(bool)).sum())
        least = [*self.least_confident, *_examples(predicted.nsmallest(NUM_EXAMPLES, "probability"))]
        self.least_confident = heapq.nsmallest(NUM_EXAMPLES, least, key=lambda one: one.probability)
        most = [*self.most_unusual, *_examples(predicted.dropna(subset=["novelty"]).nlargest(NUM_EXAMPLES, "novelty"))]
        self.most_unusual = heapq.nlargest(NUM_EXAMPLES, most, key=lambda one: one.novelty or 0.0)
        return predicted[predicted[EMBEDDING].notna()]


def _examples(rows: pd.DataFrame) -> Iterator[ExampleImage]:
    for row in rows.itertuples():
        yield ExampleImage(row.path, row.label, float(row.probability), None if pd.isna(row.novelty) else float(row.novelty))


def _as_records(rows: pd.DataFrame, class_names: list[str]) -> pd.DataFrame:
    """Sampled rows as the records of a service have them."""
    probabilities = rows[[f"p_{name}" for name in class_names]].to_numpy(float)
    return pd.DataFrame(
        {
            "request_id": rows["path"],
            "time": 0.0,
            "model_version": rows["model_version"].astype(str),
            "label": rows["label"],
            "novelty": rows["novelty"],
            "in_distribution": rows["in_distribution"].astype(object),
            "width": rows["width"],
            "height": rows["height"],
            "format": rows["format"],
            "embedding": [np.asarray(row, np.float16).tobytes() for row in rows[EMBEDDING]],
            "statistics": [dict(zip(NAMES, row, strict=True)) for row in rows[list(NAMES)].to_numpy(float)],
            "probabilities": [dict(zip(class_names, row, strict=True)) for row in probabilities],
        }
    )


def _window(records: pd.DataFrame, package: Path, drift: DriftSettings) -> Window | None:
    if len(records) < MIN_SAMPLED:
        return None
    info = read_info(package)
    scene = frozen_scene_distance(Novelty.read(package), info)
    reference = read_reference(package, info.class_names, scene)
    return measure_window(records, reference, info.class_names, drift, scene, AccuracyEstimator.read(package))
