"""Observations of two versions whose metrics are unreachable now and then."""

import pytest

from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.rollouts import observer
from seldon.delivery.rollouts.candidate_package import CandidatePackage
from seldon.delivery.rollouts.observer import Observer
from seldon.delivery.rollouts.quality_evidence import Evidence
from seldon.delivery.rollouts.rollout_run import Rollout, RolloutRun
from seldon.delivery.rollouts.settings import Canary, DeploySettings
from seldon.delivery.rollouts.stages import stages

REQUESTS = 'imageloop_requests_total{{route="/predict",code="200"}} {}\n'


class Cluster:
    """Counts ever more predictions, unless it is unreachable."""

    def __init__(self):
        self.silent, self.count = False, 0

    def exposition(self, _namespace, _name, predictor):
        if self.silent:
            raise DeploymentError("leader changed")
        self.count += 1000
        return {f"{predictor}-1": REQUESTS.format(self.count)}

    def tail(self, *_place):
        return None


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(observer.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def watched(clock, predictor_spec):
    cluster = Cluster()
    return cluster, Observer(cluster, "default", "pets", predictor_spec("1"), predictor_spec("2"))


def test_silence_is_measured_from_its_beginning(watched, clock):
    cluster, seen = watched
    clock[0] += 1000  # a long stage, in which nobody looked
    cluster.silent = True
    stable = seen.observe().stable
    clock[0] += observer.BLIND_SECONDS - 1
    seen.observe()
    clock[0] += 2

    with pytest.raises(DeploymentError, match="leader changed"):
        seen.observe()

    assert stable.requests == 0


def test_no_version_is_promoted_without_a_stage(watched, clock, predictor_spec):
    cluster, seen = watched
    settings = DeploySettings(strategy=Canary())
    versions, tested = (predictor_spec("1"), predictor_spec("2")), Evidence("as good", "as good")
    rollout = Rollout("promoted", "2", "1")
    run = RolloutRun(cluster, settings, None, *versions, rollout, lambda *_: None, CandidatePackage(), tested)
    stage = next(stage for stage in stages(settings.strategy, predictor_spec("1"), predictor_spec("2")) if stage.watch)
    assert run.judge(seen, stage, 1000.0, alone=False).decision == "advance"

    cluster.silent = True
    blind = run.judge(seen, stage, 1000.0, alone=False)
    cluster.silent = False

    assert (blind.decision, blind.reason) == ("hold", "the metrics cannot be read")
    assert run.judge(seen, stage, 1000.0, alone=False).decision == "advance"


def test_the_history_of_the_stable_version_comes_from_its_counters(watched):
    _, seen = watched

    assert (seen.past.requests, seen.past.labels) == (1000, {})
