"""Observe two predictors: their counters and, where records can be read, their predictions for the same images and the ground truth."""

import logging
import sys
import time
from dataclasses import replace
from typing import NamedTuple

from imageloop.records.record_types import FeedbackRecord
from seldon.delivery.clusters.cluster_protocol import Cluster, DeploymentError
from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.rollouts.observations import Observation, Tally

logger = logging.getLogger(__name__)
BLIND_SECONDS = 60.0  # metrics may be unreachable that long before it is an error: an API server changes its leader


class Observed(NamedTuple):
    """What was seen of both predictors.

    `agreements`: whether both predicted the same label, for each image that both got; `pairs`: whether candidate and stable version were
    right, for each of these images whose label is known.
    """

    stable: Observation
    candidate: Observation
    agreements: tuple[bool, ...]
    pairs: tuple[tuple[bool, bool], ...]


class Observer:
    """Counts what happened since it was made. Raises: DeploymentError where metrics are unreachable for too long."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        stable: PredictorSpec,
        candidate: PredictorSpec,
        *,
        counts_only: bool = False,
    ) -> None:
        self._cluster, self._deployment = cluster, (namespace, name)
        self._names = (stable.name, candidate.name)
        self._silent_since: dict[str, float] = {}
        self._tallies = {predictor: Tally(self._expositions(predictor)) for predictor in self._names}
        self._tail = None if counts_only else cluster.tail(namespace, name, stable.model_name)
        # predictor, label and SHA-256: a test of a week cannot hold on to whole records
        self._predictions: dict[str, tuple[str, str, str]] = {}
        self._judged: dict[str, dict[str, bool]] = {predictor: {} for predictor in self._names}
        self._ground_truth: dict[str, str] = {}
        self._labels_by_image: dict[str, dict[str, str]] = {}
        self._ground_truth_by_image: dict[str, str] = {}

    @property
    def past(self) -> Observation:
        """The stable version's counters from before the rollout, without its labels: the data may have changed since."""
        return replace(self._tallies[self._names[0]].past, labels={})

    @property
    def sees(self) -> bool:
        """Whether the metrics of both could be read in the last observation: older ones are no reason to go on."""
        return not self._silent_since

    @property
    def reads(self) -> bool:
        """Whether single predictions can be compared, and not only counters."""
        return self._tail is not None

    def observe(self) -> Observed:
        """Read metrics and records once more, and return all that was seen so far."""
        self._read_records()
        for name, tally in self._tallies.items():
            tally.add(self._expositions(name))
        stable, candidate = (self._tallies[name].observation(self._judged[name].values()) for name in self._names)
        both = {sha256: labels for sha256, labels in self._labels_by_image.items() if len(labels) == 2}
        stable_name, candidate_name = self._names
        pairs = tuple(
            (labels[candidate_name] == label, labels[stable_name] == label)
            for sha256, labels in both.items()
            if (label := self._ground_truth_by_image.get(sha256)) is not None
        )
        return Observed(stable, candidate, tuple(len(set(labels.values())) == 1 for labels in both.values()), pairs)

    def _expositions(self, predictor: str) -> dict[str, str]:
        """Return no replica that does not respond now: its earlier counts stay, and later ones are added when it responds."""
        try:
            expositions = self._cluster.exposition(*self._deployment, predictor)
        except DeploymentError as error:
            since = self._silent_since.setdefault(predictor, time.monotonic())
            if time.monotonic() - since > BLIND_SECONDS:
                raise
            logger.warning("the metrics of '%s' cannot be read now: %s", predictor, error)
            return {}
        self._silent_since.pop(predictor, None)
        return expositions

    def _read_records(self) -> None:
        changed = set()
        for record in self._tail.read() if self._tail else ():
            changed.add(record.request_id)
            if isinstance(record, FeedbackRecord):
                self._ground_truth[record.request_id] = record.ground_truth  # the newest one counts
            elif record.predictor in self._names:
                predictor, label = sys.intern(record.predictor), sys.intern(record.label)
                self._predictions[record.request_id] = predictor, label, record.sha256
                self._labels_by_image.setdefault(record.sha256, {})[predictor] = label
        for request_id in (
            changed & self._ground_truth.keys() & self._predictions.keys()
        ):  # ground truth may arrive before its prediction
            predictor, label, sha256 = self._predictions[request_id]
            self._judged[predictor][request_id] = label == self._ground_truth[request_id]
            self._ground_truth_by_image[sha256] = self._ground_truth[request_id]
