"""Whole rollouts under load, with real processes: a good version gets through, each kind of bad one is taken back by itself."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imageloop.model.test_images import TEST_IMAGES
from imageloop.records.store.database import DATABASE_VARIABLE, Database
from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.clusters.kubernetes.kubernetes_cluster import KubernetesCluster
from seldon.delivery.clusters.local.site_folders import free_port
from seldon.delivery.clusters.settings import KubernetesSettings, PodSettings
from seldon.delivery.rollouts.rollout_runner import RolloutStoppedError, roll_back, roll_out
from seldon.delivery.rollouts.settings import AbTest, BlueGreen, Canary, DeploySettings, JudgeSettings, Rolling, Shadow, Watch
from tests.fakes.kubernetes.api_server import VANISH, api_of, run_out, running
from tests.fakes.kubernetes.operator import Operator

pytestmark = pytest.mark.xdist_group("rollouts")
ROOT = Path(__file__).parents[4]
WATCH = Watch(min_seconds=0, max_seconds=40, min_requests=60)
CANARY = Canary(steps=(20, 50), watch=WATCH)
PATIENT = JudgeSettings(max_latency_ratio=100)  # a busy machine is slow to both; only one test is about latency


def settings(strategy=CANARY, judge=PATIENT, **options) -> DeploySettings:
    return DeploySettings(name="pets", model_name="colours", replicas=1, strategy=strategy, judge=judge, **options)


KUBERNETES = pytest.param("kubernetes", marks=pytest.mark.xdist_group("rollouts-kubernetes"))


@pytest.fixture(scope="module", params=["local", KUBERNETES])
def served(request, make_cluster, tmp_path_factory):
    """This machine, and an API server whose operator runs what is applied on this machine."""
    if request.param == "local":
        cluster = make_cluster()
        yield cluster
        cluster.stop()
        return
    port, url = free_port(), f"sqlite:///{tmp_path_factory.mktemp('records')}/records.db"
    local, database = make_cluster(port=port), Database(url)
    operator = Operator(local, database)
    with pytest.MonkeyPatch.context() as patch, running(operator) as server:
        patch.setenv(DATABASE_VARIABLE, url)
        yield on_kubernetes(server, port)
    operator.stop()
    database.close()
    local.stop()


def on_kubernetes(server, gateway_port: int) -> KubernetesCluster:
    settings = KubernetesSettings(
        gateway_url=f"http://127.0.0.1:{gateway_port}", predictor_url=f"{server.url}/call/{{namespace}}/{{name}}/{{predictor}}",
        pods=PodSettings(database_secret="records"), request_timeout_seconds=5, ready_timeout_seconds=60,
    )  # fmt: skip
    cluster = KubernetesCluster(settings, api_of(server.url))
    cluster.server = server
    return cluster


@pytest.fixture
def stable(served, predictor_spec):
    """Version 1 with all traffic, whatever the test before left."""
    if isinstance(served, KubernetesCluster):
        served.server.mend()
    roll_out(served, settings(Rolling()), predictor_spec("1"))
    return served.get("default", "pets")


def weights(cluster) -> dict[str, int]:
    return cluster.get("default", "pets").weights


def url(cluster) -> str:
    return cluster.describe("default", "pets").url


@pytest.mark.parametrize("strategy", [CANARY, BlueGreen(watch=WATCH), Rolling()], ids=lambda strategy: strategy.kind)
def test_a_good_version_gets_all_traffic_without_one_failed_request(served, stable, predictor_spec, make_package, load, strategy):
    with load(url(served)) as callers:
        callers.wait_for(50)
        rollout = roll_out(served, settings(strategy), predictor_spec("2", make_package()))
        callers.wait_for(50)

    assert rollout.outcome == "promoted"
    assert callers.failed == 0, callers.failures[:3]
    assert weights(served) == {"v2": 100}
    assert served.get("default", "pets").rollout is None
    assert [part.version for part in served.get("default", "pets").history][-2:] == ["1", "2"]
    assert any("smoke-test image: red" in line for line in rollout.smoke)


BAD = {
    "errs": ({"side_of_model": 64, "examples": False}, "requests failed"),
    "is slow": ({"work": 900, "examples": False}, "of its responses took up to"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_version_that_is_bad_is_rolled_back_by_itself(served, stable, predictor_spec, make_package, load, fault):
    make, reason = BAD[fault]
    judge = JudgeSettings(max_latency_ms=0, min_latency_increase_ms=10, max_latency_ratio=1.8)
    with load(url(served)) as callers:
        callers.wait_for(50)
        with pytest.raises(RolloutStoppedError, match=reason) as stopped:
            roll_out(served, settings(judge=judge), predictor_spec("3", make_package(**make)))
        before = sum(callers.codes.values())
        callers.wait_for(50)

    assert stopped.value.rollout.before == "1"
    assert stopped.value.rollout.exposure < 0.6
    assert stopped.value.rollout.unfit
    assert stopped.value.rollout.verdicts[-1][1].decision == "rollback"
    assert weights(served) == {"v1": 100}
    assert served.get("default", "pets") == stable
    assert callers.predictors["v3"] <= before


def test_a_version_that_is_wrong_on_test_images_never_gets_a_request(served, stable, predictor_spec, make_package, load):
    with load(url(served)) as callers:
        callers.wait_for(30)
        with pytest.raises(RolloutStoppedError, match="right on 20 of 40 test images, the stable version on 40") as stopped:
            roll_out(served, settings(), predictor_spec("3", one_sided(make_package)))

    assert stopped.value.rollout.unfit
    assert [stage for stage, _ in stopped.value.rollout.verdicts] == ["test images"]
    assert set(callers.predictors) == {"v1"}
    assert served.get("default", "pets") == stable


def one_sided(make_package) -> Path:
    """A package of a model that predicts red for all, with test images and without smoke-test images."""
    folder = make_package(bias=100.0)
    (folder / "examples.json").unlink()
    resign(folder, make_package)
    return folder


def test_a_version_that_predicts_otherwise_than_it_was_evaluated_never_gets_a_request(cluster, predictor_spec, make_package):
    other = one_sided(make_package)
    (other / TEST_IMAGES).write_bytes((make_package() / TEST_IMAGES).read_bytes())
    resign(other, make_package)

    with pytest.raises(RolloutStoppedError, match="right on 20 of 40 test images, and was on 40 when it was evaluated"):
        roll_out(cluster, settings(Rolling()), predictor_spec("1", other))


def test_a_version_without_test_images_gets_copies_of_requests_first(served, stable, predictor_spec, make_package, load):
    with load(url(served)) as callers:
        rollout = roll_out(served, settings(), predictor_spec("2", make_package(examples=False)))

    assert rollout.outcome == "promoted"
    assert [stage for stage, _ in rollout.verdicts] == ["shadow", "canary 20 %", "canary 50 %"]
    for _, verdict in rollout.verdicts:  # how many of the 40 images were compared by then depends on the machine
        agreed, compared = map(
            int, re.search(r"agrees with the stable version on (\d+) of (\d+) images", verdict.reason).groups()
        )
        assert agreed == compared >= PATIENT.min_compared
    assert callers.failed == 0, callers.failures[:3]


@pytest.mark.parametrize("strategy", [Rolling(), BlueGreen(watch=WATCH), AbTest(watch=WATCH)], ids=lambda strategy: strategy.kind)
def test_a_faulty_version_without_test_images_gets_nothing_but_copies(
    served, stable, predictor_spec, make_package, load, strategy
):
    with load(url(served)) as callers:
        callers.wait_for(30)
        with pytest.raises(RolloutStoppedError, match=r"shadow: .* requests failed") as stopped:
            roll_out(served, settings(strategy), predictor_spec("3", make_package(side_of_model=64, examples=False)))

    assert stopped.value.rollout.unfit
    assert stopped.value.rollout.exposure == 0
    assert set(callers.predictors) == {"v1"}
    assert callers.failed == 0, callers.failures[:3]
    assert served.get("default", "pets") == stable


def test_a_rolling_update_without_requests_goes_on(served, stable, predictor_spec, make_package):
    strategy = Rolling(watch=Watch(min_seconds=0, max_seconds=1, on_no_data="advance"))

    rollout = roll_out(served, settings(strategy), predictor_spec("2", make_package(examples=False)))

    assert [(stage, verdict.decision) for stage, verdict in rollout.verdicts] == [("shadow", "no_data")]
    assert weights(served) == {"v2": 100}


def test_a_difference_that_nothing_explains_proves_nothing_against_a_version(served, stable, predictor_spec, make_package, load):
    with load(url(served)) as callers:
        callers.wait_for(30)
        with pytest.raises(RolloutStoppedError, match="neither labels nor test images show which of the two is right") as stopped:
            roll_out(served, settings(), predictor_spec("3", make_package(bias=100.0, examples=False)))

    assert not stopped.value.rollout.unfit
    assert [stage for stage, _ in stopped.value.rollout.verdicts] == ["shadow"]
    assert stopped.value.rollout.exposure == 0
    assert set(callers.predictors) == {"v1"}
    assert served.get("default", "pets") == stable


def test_requests_of_a_rollout_are_neither_recorded_nor_counted(cluster, predictor_spec, make_package):
    roll_out(cluster, settings(Rolling()), predictor_spec("1"))

    rollout = roll_out(cluster, settings(Rolling()), predictor_spec("2", make_package()))

    exposition = "".join(cluster.exposition("default", "pets", "v2").values())
    records = cluster.records("default", "pets")
    assert rollout.verdicts[0][0] == "test images"
    assert "imageloop_requests_total{" not in exposition
    assert not [file for file in records.rglob("*") if file.is_file() and b'"prediction"' in file.read_bytes()]


def test_a_corrupted_package_never_gets_a_request(served, stable, predictor_spec, make_package, load):
    corrupted = make_package()
    (corrupted / "model.onnx").write_bytes(b"something else")
    with load(url(served)) as callers:
        callers.wait_for(30)
        with pytest.raises(RolloutStoppedError, match="is not what was signed"):
            roll_out(served, settings(), predictor_spec("4", corrupted))
        callers.wait_for(30)

    assert set(callers.predictors) == {"v1"}
    assert callers.failed == 0
    assert served.get("default", "pets") == stable


def test_a_version_that_fails_its_smoke_test_never_gets_a_request(served, stable, predictor_spec, make_package, load):
    other = make_package(bias=100.0, examples=False)
    (other / "examples.json").write_bytes((make_package() / "examples.json").read_bytes())
    resign(other, make_package)
    with load(url(served)) as callers:
        callers.wait_for(30)
        with pytest.raises(RolloutStoppedError, match="for a smoke-test image, got 'red'") as stopped:
            roll_out(served, settings(), predictor_spec("5", other))
        callers.wait_for(30)

    assert stopped.value.rollout.unfit
    assert set(callers.predictors) == {"v1"}
    assert served.get("default", "pets") == stable


def resign(folder: Path, make_package) -> None:
    from imageloop.model.signing import private_key, sign

    keys = next(cell.cell_contents for cell in make_package.__closure__ if isinstance(cell.cell_contents, Path))
    sign(folder, private_key(keys))


def test_a_bad_first_version_is_removed(cluster, predictor_spec, make_package):
    bad = make_package(side_of_model=64, examples=False)
    (bad / "examples.json").write_bytes((make_package() / "examples.json").read_bytes())
    resign(bad, make_package)

    with pytest.raises(RolloutStoppedError, match="nothing serves"):
        roll_out(cluster, settings(Rolling()), predictor_spec("1", bad))

    assert cluster.get("default", "pets") is None
    assert not cluster._supervisor.is_running()


def test_no_requests_are_no_evidence(served, stable, predictor_spec, make_package):
    strategy = Canary(steps=(50,), watch=Watch(min_seconds=0, max_seconds=1, min_requests=10))

    with pytest.raises(
        RolloutStoppedError, match=r"expected 10 predictions .*; nothing was proved against the version"
    ) as stopped:
        roll_out(served, settings(strategy), predictor_spec("6", make_package()))

    assert not stopped.value.rollout.unfit
    assert served.get("default", "pets") == stable


def test_a_shadow_is_compared_and_taken_away(served, stable, predictor_spec, make_package, load):
    other = predictor_spec("3", make_package(bias=100.0, examples=False))
    with load(url(served)) as callers:
        good = roll_out(served, settings(Shadow(watch=WATCH)), predictor_spec("2", make_package()))
        bad = roll_out(served, settings(Shadow(watch=WATCH)), other)

    assert (bad.outcome, bad.unfit, bad.verdicts[-1][1].decision) == ("withdrawn", False, "no_data")
    assert "agrees with the stable version" in bad.reason or "distributed differently" in bad.reason
    assert (good.outcome, good.verdicts[-1][1].metrics["agreement"]) == ("withdrawn", 1.0)
    assert set(callers.predictors) == {"v1"}
    assert callers.failed == 0
    assert weights(served) == {"v1": 100}


def test_a_shadow_without_room_for_every_copy_has_not_failed(served, stable, predictor_spec, make_package, load):
    cramped = predictor_spec("4", make_package(), environment={"IMAGELOOP_MAX_WAITING": "0"})
    with load(url(served), clients=8):
        rollout = roll_out(served, settings(Shadow(watch=WATCH)), cramped)

    metrics = rollout.verdicts[-1][1].metrics
    assert (rollout.outcome, metrics["agreement"], metrics["candidate"]["error_rate"]) == ("withdrawn", 1.0, 0.0)
    assert metrics["candidate"]["turned_away"] > 0


def test_feedback_settles_a_test_of_two_versions(served, stable, predictor_spec, make_package, call, colours):
    """Callers send the ground truth of each prediction; the candidate predicts red for all."""
    import threading

    candidate, stop = predictor_spec("7", make_package(bias=100.0, examples=False)), threading.Event()
    address = url(served)

    def send_labels() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            label = "red" if number % 2 else "blue"
            _, body, _ = call(f"{address}/predict", colours.red if label == "red" else colours.blue, "image/png")
            feedback = {"request_id": json.loads(body)["request_id"], "label": label}
            call(f"{address}/feedback", json.dumps(feedback).encode(), "application/json")

    caller = threading.Thread(target=send_labels)
    caller.start()
    tolerant = JudgeSettings(max_mix_distance=1, min_compared=100_000)
    try:
        with pytest.raises(RolloutStoppedError, match="the stable version"):
            roll_out(served, settings(AbTest(max_seconds=60, watch=WATCH, shadow_percent=0), judge=tolerant), candidate)
    finally:
        stop.set()
        caller.join(30)

    assert weights(served) == {"v1": 100}


def test_rolling_back_by_hand_takes_seconds(served, stable, predictor_spec, make_package, load):
    roll_out(served, settings(Rolling()), predictor_spec("2", make_package()))
    with load(url(served)) as callers:
        callers.wait_for(20)
        rollout = roll_back(served, "default", "pets")
        callers.wait_for(20)

    assert (rollout.version, rollout.before) == ("2", "1")
    assert weights(served) == {"v1": 100}
    assert callers.failed == 0


def test_without_a_history_there_is_no_rollback(cluster, predictor_spec):
    with pytest.raises(DeploymentError, match="got none"):
        roll_back(cluster, "default", "pets")
    roll_out(cluster, settings(Rolling()), predictor_spec("1"))
    with pytest.raises(DeploymentError, match="expected a version before 1"):
        roll_back(cluster, "default", "pets")


KILLED = """
import sys, json
from pathlib import Path
from kubernetes import client
from seldon.delivery.clusters.kubernetes.kubernetes_cluster import KubernetesCluster
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.clusters.settings import KubernetesSettings
from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.rollouts.rollout_runner import roll_out
from seldon.delivery.rollouts.settings import DeploySettings
kind, place, given, settings, candidate = sys.argv[1:]
if kind == "local":
    cluster = LocalCluster(Path(place), GatewaySettings(port=0), serving_python(), json.loads(given))
else:
    cluster = KubernetesCluster(KubernetesSettings.model_validate_json(given), client.ApiClient(client.Configuration(host=place)))
roll_out(cluster, DeploySettings.model_validate_json(settings), PredictorSpec.model_validate_json(candidate))
"""


def start_and_kill_in_the_middle(cluster, settings_, candidate) -> None:
    if isinstance(cluster, KubernetesCluster):
        where = ["kubernetes", cluster.server.url, cluster._settings.model_dump_json()]
    else:
        where = ["local", str(cluster._layout.folder), json.dumps(cluster._replicas._environment)]
    arguments = [*where, settings_.model_dump_json(), candidate.model_dump_json(by_alias=True)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 40
    while len(weights(cluster)) < 2 or min(weights(cluster).values()) == 0:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    if isinstance(cluster, KubernetesCluster):
        for lease in cluster.server.leases.values():
            run_out(lease)


def test_a_rollout_that_was_killed_is_undone_by_the_next_one(served, stable, predictor_spec, make_package, load):
    endless = settings(Canary(steps=(50,), watch=Watch(min_seconds=1000, max_seconds=2000)))
    with load(url(served)) as callers:
        start_and_kill_in_the_middle(served, endless, predictor_spec("8", make_package()))
        between = weights(served)
        rollout = roll_out(served, settings(Rolling()), predictor_spec("1"))

    assert between == {"v1": 50, "v8": 50}
    assert rollout.outcome == "unchanged"
    assert weights(served) == {"v1": 100}
    assert callers.failed == 0, callers.failures[:3]


def test_a_rollout_that_was_killed_is_undone_by_rollback(served, stable, predictor_spec, make_package):
    endless = settings(Canary(steps=(50,), watch=Watch(min_seconds=1000, max_seconds=2000)))
    start_and_kill_in_the_middle(served, endless, predictor_spec("8", make_package()))

    rollout = roll_back(served, "default", "pets")

    assert (rollout.version, rollout.before) == ("8", "1")
    assert weights(served) == {"v1": 100}


def test_two_rollouts_at_once_do_not_mix(served, stable, predictor_spec):
    with served.changing("default", "pets"), pytest.raises(DeploymentError, match=r"under way|at work on it"):
        roll_out(served, settings(), predictor_spec("2"))


def test_it_can_be_seen_whether_a_rollout_is_running(served, stable):
    before = served.is_changing("default", "pets")
    with served.changing("default", "pets"):
        meanwhile = served.is_changing("default", "pets")

    assert (before, meanwhile, served.is_changing("default", "pets")) == (False, True, False)


def test_a_short_silence_of_the_cluster_does_not_end_a_rollout(served, stable, predictor_spec, make_package, load, monkeypatch):
    silent, exposition = [], type(served).exposition

    def now_and_then(cluster, namespace, name, predictor):
        if cluster.get(namespace, name).weights.get("v2", 0) and len(silent) < 3:
            silent.append(predictor)
            raise DeploymentError("expected to read the metrics, but the API server refuses: leader changed")
        return exposition(cluster, namespace, name, predictor)

    monkeypatch.setattr(type(served), "exposition", now_and_then)
    with load(url(served)):
        rollout = roll_out(served, settings(), predictor_spec("2", make_package()))

    assert rollout.outcome == "promoted"
    assert len(silent) == 3


@pytest.mark.parametrize("served", ["local"], indirect=True)
def test_other_settings_that_cannot_serve_are_taken_back(served, stable, predictor_spec, monkeypatch):
    other = predictor_spec("1", environment={"IMAGELOOP_MAX_WAITING": "many"})

    with pytest.raises(RolloutStoppedError) as stopped:
        roll_out(served, settings(), other)

    assert not stopped.value.rollout.unfit
    assert served.get("default", "pets") == stable
    assert len(served.get("default", "pets").history) == len(stable.history)


FAULTS = {
    "a conflict": (409, 'conflict with "kubectl"'),
    "an expired token": (401, "token has expired"),
    "a full store": (500, "etcd is full"),
}


@pytest.mark.parametrize("served", [KUBERNETES], indirect=True)
class TestWhereTheApiServerFails:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_a_stage_that_the_cluster_refuses_undoes_the_rollout(self, served, stable, predictor_spec, make_package, load, fault):
        served.server.next_faults = [None, FAULTS[fault]]  # the candidate is applied, its first share of traffic is not
        with load(url(served)) as callers, pytest.raises(RolloutStoppedError, match=FAULTS[fault][1].split()[0]) as stopped:
            roll_out(served, settings(), predictor_spec("9", make_package()))

        assert not stopped.value.rollout.unfit
        assert served.get("default", "pets") == stable
        assert callers.failed == 0, callers.failures[:3]

    def test_a_half_done_rollout_is_undone_by_the_next_one(self, served, stable, predictor_spec, make_package, load):
        served.server.next_faults = [None, VANISH]
        with load(url(served)) as callers:
            with pytest.raises(RolloutStoppedError, match=r"no API server responds.*could not be undone") as stopped:
                roll_out(served, settings(), predictor_spec("9", make_package()))
            assert not stopped.value.rollout.unfit
            served.server.silent_seconds = 0
            between = served.get("default", "pets").rollout
            with pytest.raises(DeploymentError, match=r"under way|at work on it"):
                roll_out(served, settings(Rolling()), predictor_spec("1"))
            for lease in served.server.leases.values():
                run_out(lease)
            rollout = roll_out(served, settings(Rolling()), predictor_spec("1"))

        assert between.to_predictor == "v9"
        assert rollout.outcome == "unchanged"
        assert served.get("default", "pets") == stable
        assert callers.failed == 0, callers.failures[:3]

    def test_a_silent_pod_is_left_out(self, served, stable):
        feedback = served.exposition("default", "pets", "v1")
        served.server.mute = {"v1"}

        assert len(feedback) == 1
        assert served.exposition("default", "pets", "v1") == {}

    def test_a_candidate_without_pods_gets_no_request(self, served, stable, predictor_spec, make_package, load):
        impatient = KubernetesCluster(served._settings.model_copy(update={"ready_timeout_seconds": 10}), served._api._given)
        served.server.never_ready = {"v9"}
        with load(url(served)) as callers, pytest.raises(RolloutStoppedError, match=r"without all replicas of (v1, )?v9"):
            roll_out(impatient, settings(), predictor_spec("9", make_package()))

        assert served.get("default", "pets") == stable
        assert set(callers.predictors) == {"v1"}
        assert callers.failed == 0, callers.failures[:3]
