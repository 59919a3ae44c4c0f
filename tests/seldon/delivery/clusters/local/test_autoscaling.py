"""Replicas follow the load, and no request is lost on the way up or down."""

import time

import pytest

from seldon.delivery.clusters.local import autoscaling
from seldon.delivery.clusters.local.autoscaling import DOWN_SAMPLES, Autoscaler, desired_replicas
from seldon.delivery.manifest import scaled_between
from seldon.delivery.rollouts.rollout_runner import roll_out
from seldon.delivery.rollouts.settings import DeploySettings


@pytest.mark.parametrize(
    ("in_flight", "replicas", "expected"),
    [
        ([0, 0, 0], 2, 2),
        ([0, 9, 9], 2, 3),  # two of three samples
        ([0, 0, 40], 2, 2),  # one alone is noise
        ([40, 40, 40], 2, 6),  # at most
        ([3] * DOWN_SAMPLES, 4, 2),  # at least
        ([3] * (DOWN_SAMPLES - 1), 4, 4),  # not for long enough
        ([3] * (DOWN_SAMPLES - 1) + [13], 4, 4),  # the load came back
        ([9] * DOWN_SAMPLES, 4, 3),
    ],
)
def test_the_number_of_replicas_follows_from_the_requests_in_flight(in_flight, replicas, expected):
    assert desired_replicas(in_flight, replicas, (2, 6)) == expected


def test_replicas_come_and_go_with_the_load_and_no_request_fails(cluster, predictor_spec, make_package, load, monkeypatch):
    monkeypatch.setattr(autoscaling, "DOWN_SAMPLES", 4)
    settings = DeploySettings(name="pets", model_name="colours", replicas=1, max_replicas=2)
    slow = scaled_between(predictor_spec("1", make_package(work=900)), 1, 2)
    roll_out(cluster, settings, slow)
    autoscaler, url = Autoscaler(cluster), cluster.describe("default", "pets").url

    with load(url, clients=10) as callers:
        callers.wait_for(5)
        grown = step_until_it_scales(autoscaler)
        callers.wait_for(20)
    with load(url, clients=1) as few:
        shrunk = step_until_it_scales(autoscaler)
        few.wait_for(5)

    assert "from 1 to 2 replicas" in grown
    assert "from 2 to 1 replicas" in shrunk
    assert (callers.failed, few.failed) == (0, 0), (callers.failures + few.failures)[:3]
    assert cluster.get("default", "pets").spec.predictors[0].replicas == 1
    assert len(cluster.exposition("default", "pets", "v1")) == 1


def step_until_it_scales(autoscaler: Autoscaler) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for sentence in autoscaler.step():
            return sentence
        time.sleep(0.3)
    raise AssertionError("nothing was scaled")


def test_a_deployment_without_bounds_and_one_that_is_rolled_out_are_left_alone(cluster, predictor_spec, monkeypatch):
    monkeypatch.setattr(Autoscaler, "_in_flight", lambda *_: 40.0)
    roll_out(cluster, DeploySettings(name="pets", model_name="colours", replicas=1), predictor_spec("1"))
    autoscaler = Autoscaler(cluster)
    assert autoscaler.step() == []
    assert autoscaler.samples == {}

    bound = DeploySettings(name="pets", model_name="colours", replicas=1, max_replicas=3)
    again = roll_out(cluster, bound, scaled_between(predictor_spec("1"), 1, 3))
    assert again.outcome == "promoted"
    with cluster.changing("default", "pets"):
        assert [autoscaler.step() for _ in range(4)] == [[]] * 4
    assert roll_out(cluster, bound, scaled_between(predictor_spec("1"), 1, 3)).outcome == "unchanged"
