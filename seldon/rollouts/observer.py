"""Watch two predictors: their counters, and where their records can be had, their answers to the same pictures and the truth."""

import logging
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from classifier.errors import ImageLoopError
from records.lines import FeedbackRecord
from records.reader import Record
from seldon.clusters.contract import Cluster
from seldon.manifest import PredictorSpec
from seldon.rollouts.observations import Observation, Tally

logger = logging.getLogger(__name__)
BLIND_SECONDS = 60.0  # so long may a source be silent before that is an error: an API server changes its leader
Found = TypeVar("Found")


class Observer:
    """What has happened since it was made. Every method may raise ImageLoopError, where a source was silent for too long."""

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
        self._cluster, self._place = cluster, (namespace, name)
        self._names = (stable.name, candidate.name)
        self._heard: dict[str, float] = {}
        self._tallies = {predictor: Tally(self._expositions(predictor)) for predictor in self._names}
        self._tail = None if counts_only else cluster.tail(namespace, name, stable.model_name)
        self._answers: dict[str, tuple[str, str]] = {}  # predictor and label: a test of a week cannot hold on to whole records
        self._judged: dict[str, dict[str, bool]] = {predictor: {} for predictor in self._names}
        self._truths: dict[str, str] = {}
        self._said: dict[str, dict[str, str]] = {}

    @property
    def reads(self) -> bool:
        """Whether what the two say can be read, and not only how much."""
        return self._tail is not None

    def look(self) -> tuple[Observation, Observation, tuple[bool, ...]]:
        """The stable version, the candidate, and whether they agreed on each picture that both answered."""
        self._read_records()
        for name, tally in self._tallies.items():
            tally.add(self._expositions(name))
        stable, candidate = (self._tallies[name].observation(self._judged[name].values()) for name in self._names)
        both = [said for said in self._said.values() if len(said) == 2]
        return stable, candidate, tuple(len(set(said.values())) == 1 for said in both)

    def _expositions(self, predictor: str) -> dict[str, str]:
        """Nothing of a replica that does not answer now: what it told stays, and what it counts meanwhile comes later."""
        return self._ask(f"metrics of {predictor}", lambda: self._cluster.exposition(*self._place, predictor), {})

    def _records(self) -> list[Record]:
        return self._ask("records", self._tail.read, []) if self._tail else []

    def _ask(self, source: str, read: Callable[[], Found], nothing: Found) -> Found:
        self._heard.setdefault(source, time.monotonic())
        try:
            found = read()
        except ImageLoopError as error:
            if time.monotonic() - self._heard[source] > BLIND_SECONDS:
                raise
            logger.warning("%s cannot be had now: %s", source, error)
            return nothing
        self._heard[source] = time.monotonic()
        return found

    def _read_records(self) -> None:
        told = set()
        for record in self._records():
            told.add(record.request_id)
            if isinstance(record, FeedbackRecord):
                self._truths[record.request_id] = (
                    record.true_label
                )  # a later word on the same answer takes the place of the first
            elif record.predictor in self._names:
                predictor, label = sys.intern(record.predictor), sys.intern(record.label)
                self._answers[record.request_id] = predictor, label
                self._said.setdefault(record.sha256, {})[predictor] = label
        for request_id in told & self._truths.keys() & self._answers.keys():  # a truth may come before its answer
            predictor, label = self._answers[request_id]
            self._judged[predictor][request_id] = label == self._truths[request_id]
