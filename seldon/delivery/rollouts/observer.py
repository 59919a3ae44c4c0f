"""Watch two predictors: their counters, and where their records can be had, their answers to the same pictures and the truth."""

import logging
import sys
import time
from dataclasses import replace

from imageloop.records.record_types import FeedbackRecord
from seldon.delivery.clusters.cluster_protocol import Cluster, DeploymentError
from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.rollouts.observations import Observation, Tally

logger = logging.getLogger(__name__)
BLIND_SECONDS = 60.0  # so long may metrics be out of reach before that is an error: an API server changes its leader


class Observer:
    """What has happened since it was made. Raises: DeploymentError where metrics are out of reach for too long."""

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
        self._silent_since: dict[str, float] = {}
        self._tallies = {predictor: Tally(self._expositions(predictor)) for predictor in self._names}
        self._tail = None if counts_only else cluster.tail(namespace, name, stable.model_name)
        self._answers: dict[str, tuple[str, str]] = {}  # predictor and label: a test of a week cannot hold on to whole records
        self._judged: dict[str, dict[str, bool]] = {predictor: {} for predictor in self._names}
        self._truths: dict[str, str] = {}
        self._said: dict[str, dict[str, str]] = {}

    @property
    def past(self) -> Observation:
        """What the stable version had done before, since its replicas started; not what it said, for the world may have been another."""
        return replace(self._tallies[self._names[0]].past, labels={})

    @property
    def sees(self) -> bool:
        """Whether both could be heard when it looked last: what was seen before is no reason to go on."""
        return not self._silent_since

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
        try:
            found = self._cluster.exposition(*self._place, predictor)
        except DeploymentError as error:
            since = self._silent_since.setdefault(predictor, time.monotonic())
            if time.monotonic() - since > BLIND_SECONDS:
                raise
            logger.warning("the metrics of '%s' cannot be had now: %s", predictor, error)
            return {}
        self._silent_since.pop(predictor, None)
        return found

    def _read_records(self) -> None:
        told = set()
        for record in self._tail.read() if self._tail else ():
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
