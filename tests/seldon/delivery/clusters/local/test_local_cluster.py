"""A SeldonDeployment on this machine: real processes, real gateway, callers who never stop."""

import contextlib
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import time
import urllib.request
from urllib.parse import urlsplit

import psutil
import pytest
from pydantic import ValidationError

from imageloop.errors import SettingsError
from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.local.site_folders import SITE_VARIABLE
from seldon.delivery.manifest import Manifest, dump
from seldon.delivery.render_manifest import render
from seldon.delivery.rollouts.rollout_runner import roll_out
from seldon.delivery.rollouts.settings import DeploySettings, Rolling
from tests.fakes.kubernetes.authority import certify

pytestmark = pytest.mark.xdist_group("cluster")


def status(cluster):
    return cluster.describe("default", "pets")


def processes_of(cluster) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(SITE_VARIABLE) == str(cluster._layout.folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def pid_of(cluster, program: str) -> int:
    return cluster._supervisor._call("getProcessInfo", program)["pid"]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_it_serves_under_seldons_path(served, call, colours):
    code, body, headers = call(
        f"{status(served).url}/api/v1.0/predictions", json.dumps({"jsonData": {"image": ""}}).encode(), "application/json"
    )
    good, answer, _ = call(f"{status(served).url}/predict", colours.red, "image/png")

    assert status(served).url.endswith("/seldon/default/pets")
    assert (code, json.loads(body)["status"]["reason"]) == (400, "NOT_AN_IMAGE")
    assert (good, json.loads(answer)["label"]) == (200, "red")
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_callers_id_of_a_request_passes_the_gateway(served, call, colours):
    headers = {"X_Request_Id": "order-17"}, {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, {}

    found = [call(f"{status(served).url}/predict", colours.red, "image/png", **given)[2].get("X-Request-Id") for given in headers]

    assert found == ["order-17", "0af7651916cd43dd8448eb211c80319c", None]


def test_a_body_that_is_too_large_is_refused_with_the_limit(served, call):
    code, body, _ = call(f"{status(served).url}/predict", b"x" * (51 * 2**20), "image/png")

    assert (code, json.loads(body)["status"]["reason"]) == (413, "GATEWAY")
    assert "expected a body of at most 52428800 bytes" in json.loads(body)["status"]["info"]


def test_the_address_without_its_slash_leads_to_the_page(served):
    with urllib.request.urlopen(status(served).url, timeout=10) as response:
        assert response.url == f"{status(served).url}/"
        assert b"Classify an image" in response.read()


SELDON_CLIENT = """
import sys
from seldon_core.seldon_client import SeldonClient
client = SeldonClient(deployment_name="pets", namespace="default", gateway="ambassador", gateway_endpoint=sys.argv[1], transport="rest")
answer = client.predict(bin_data=open(sys.argv[2], "rb").read())
assert answer.success, answer.msg
print(answer.response["meta"]["tags"]["labels"][0])
"""


def test_seldons_own_client_finds_it(served, tmp_path, colours):
    (tmp_path / "blue.png").write_bytes(colours.blue)
    address = status(served).url.split("/")[2]

    command = [serving_python(), "-W", "ignore", "-c", SELDON_CLIENT, address, tmp_path / "blue.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "blue"), done.stderr


def test_weights_change_and_no_request_fails(served, predictor_spec, make_package, load):
    manifest, second = served.get("default", "pets"), make_package()
    with load(status(served).url) as callers:
        callers.wait_for(100)
        served.apply(
            manifest.with_predictors([predictor_spec("1", replicas=2, traffic=50), predictor_spec("2", second, traffic=50)], None)
        )
        callers.wait_for(300)
        half = dict(callers.predictors)
        served.apply(manifest.with_predictors([predictor_spec("2", second)], None))
        callers.wait_for(200)
        served.apply(manifest)
        callers.wait_for(100)

    assert callers.failed == 0, callers.failures[:3]
    assert half["v2"] > 75
    assert [part.version for part in status(served).predictors] == ["1"]


def test_a_shadow_gets_copies_and_serves_no_caller(served, predictor_spec, make_package, load):
    manifest, second = served.get("default", "pets"), make_package()
    served.apply(manifest.with_predictors([predictor_spec("1", replicas=2), predictor_spec("2", second, shadow=True)], None))
    with load(status(served).url) as callers:
        callers.wait_for(200)
    heard = sum("imageloop_predictions_total{" in text for text in served.exposition("default", "pets", "v2").values())
    served.apply(manifest)

    assert set(callers.predictors) == {"v1"}
    assert heard


def test_a_caller_may_choose_a_predictor_by_header(served, predictor_spec, make_package, call, colours):
    manifest = served.get("default", "pets")
    served.apply(
        manifest.with_predictors([predictor_spec("1", replicas=2), predictor_spec("2", make_package(), traffic=0)], None)
    )
    caller = served.caller("default", "pets", "v2")

    responses = [json.loads(call(f"{caller.url}/predict", colours.red, "image/png", **caller.headers)[1]) for _ in range(5)]
    served.apply(manifest)

    assert {answer["model"]["predictor"] for answer in responses} == {"v2"}


def test_a_killed_replica_comes_back_and_costs_no_request(served, load):
    with load(status(served).url) as callers:
        callers.wait_for(100)
        killed = status(served).predictors[0].replicas[0].name
        parent = psutil.Process(pid_of(served, killed))
        for process in [*parent.children(recursive=True), parent]:
            process.kill()
        callers.wait_for(300)
        wait_until(lambda: status(served).state == "Available")

    assert callers.failed == 0, callers.failures[:3]
    assert {replica.name: replica.restarts for replica in status(served).predictors[0].replicas}[killed] >= 1


def test_a_killed_gateway_restarts_and_its_twin_serves_meanwhile(served, load):
    with load(status(served).url) as callers:
        callers.wait_for(100)
        os.kill(pid_of(served, "gateway-1"), signal.SIGKILL)
        callers.wait_for(200)
        wait_until(lambda: status(served).state == "Available")

    assert callers.failed <= 4, callers.failures[:3]  # what the killed one had in its hands
    with load(status(served).url) as callers:
        callers.wait_for(50)
    assert callers.failed == 0


def test_a_worker_that_hangs_costs_time_and_no_request(served, load):
    hung = psutil.Process(pid_of(served, status(served).predictors[0].replicas[0].name))
    stopped = [hung, *hung.children(recursive=True)]
    with load(status(served).url) as callers:
        callers.wait_for(100)
        for process in stopped:
            process.suspend()
        try:
            time.sleep(20)  # the requests that it had in its hands come from its twin
            callers.wait_for(200)
        finally:
            for process in stopped:
                process.resume()
        callers.wait_for(100)
        wait_until(lambda: status(served).state == "Available")

    assert callers.failed == 0, callers.failures[:3]


@pytest.mark.parametrize(
    "path",
    ["/quitquitquit", "/logging?level=trace", "/runtime_modify?a=b", "/drain_listeners?graceful", "/config_dump", "/ready"],
)
def test_no_user_of_the_machine_can_end_or_change_the_gateway(served, call, path):
    for port in served._store.site().admin_ports:
        assert call(f"http://127.0.0.1:{port}{path}", b"", "text/plain")[0] == 404
        assert stat.S_IMODE(served._layout.admin_socket(port).stat().st_mode) == 0o600
    assert status(served).state == "Available"


def test_another_path_is_answered_with_the_paths_of_the_deployments(served, call):
    code, body, _ = call(f"{status(served).url.removesuffix('pets')}other/predict", b"", "image/png")

    assert code == 404
    assert json.loads(body)["status"]["info"].endswith("deployed here: /seldon/default/pets/")


def test_prometheus_reads_the_metrics_of_the_gateway(served):
    addresses = [address for address in served.metrics_addresses() if "stats" in address]

    assert len(addresses) == 2
    for found in addresses:
        with urllib.request.urlopen(found, timeout=5) as response:
            assert b"envoy_http_downstream_rq_total" in response.read()


def test_a_gateway_that_hangs_is_replaced_by_the_next_change(served, load):
    for name in ("gateway-1", "gateway-2"):
        os.kill(pid_of(served, name), signal.SIGSTOP)
    assert "0 of 2 processes of the gateway are live" in status(served).description

    served.apply(served.get("default", "pets"))

    assert status(served).state == "Available"
    with load(status(served).url) as callers:
        callers.wait_for(50)
    assert callers.failed == 0, callers.failures[:3]


def test_what_serves_no_more_is_started_again_unless_its_user_stopped_it(served, load):
    assert served.repair() == []
    for process in processes_of(served):
        process.kill()
    psutil.wait_procs(processes_of(served), timeout=10)

    (repaired,) = served.repair()

    assert "default/pets: 'v1' has 0 of 2 replicas ready; the supervisor is gone" in repaired
    with load(status(served).url) as callers:
        callers.wait_for(50)
    assert callers.failed == 0, callers.failures[:3]
    with served.changing("default", "pets"):
        served._supervisor.stop()
        assert served.repair() == [], "another process changes it"
    served.apply(served.get("default", "pets"))
    served.stop(keep=True)
    assert served.repair() == []
    served.apply(served.get("default", "pets"))
    assert status(served).state == "Available"


def test_one_deployment_that_cannot_be_started_again_keeps_no_other_from_it(cluster, predictor_spec, make_package):
    gone = make_package()
    for name, package in (("broken", gone), ("whole", make_package())):
        cluster.apply(render(name, "default", [predictor_spec("1", package)]))
    for process in processes_of(cluster):
        process.kill()
    psutil.wait_procs(processes_of(cluster), timeout=10)
    (gone / "model.onnx").write_bytes(b"damaged")

    with pytest.raises(DeploymentError, match=r"default/broken: .*model\.onnx"):
        cluster.repair()

    assert cluster.describe("default", "whole").state == "Available"


def test_a_killed_supervisor_is_reported_and_the_next_change_repairs_it(served, load):
    os.kill(int(served._supervisor._call("getPID")), signal.SIGKILL)
    wait_until(lambda: not served._supervisor.is_running())

    left = {process.pid for process in processes_of(served)}
    with load(status(served).url) as callers:
        callers.wait_for(50)
        reported = status(served)
        served.apply(served.get("default", "pets"))
        callers.wait_for(100)

    assert callers.failed == 0, callers.failures[:3]
    assert "supervisor is gone" in reported.description
    assert left.isdisjoint(process.pid for process in processes_of(served))
    assert status(served).state == "Available"


def test_after_a_reboot_the_next_change_restarts_it(served, load):
    for process in processes_of(served):
        process.kill()
    psutil.wait_procs(processes_of(served), timeout=10)
    gone = status(served)

    served.apply(served.get("default", "pets"))

    assert gone.state == "Failed"
    with load(status(served).url) as callers:
        callers.wait_for(50)
    assert callers.failed == 0


def test_a_version_that_does_not_get_ready_leaves_the_other_serving(served, predictor_spec, make_package, load):
    broken = make_package()
    (broken / "weights.pt").write_bytes(b"changed")
    manifest = served.get("default", "pets")
    with load(status(served).url) as callers:
        callers.wait_for(50)
        with pytest.raises(DeploymentError, match="is not what was signed"):
            served.apply(
                manifest.with_predictors(
                    [predictor_spec("1", replicas=2, traffic=50), predictor_spec("9", broken, traffic=50)], None
                )
            )
        callers.wait_for(50)

    assert callers.failed == 0
    assert served.get("default", "pets") == manifest
    assert not [name for name in served._supervisor.states() if "--v9--" in name]


def test_more_than_the_gateway_allows_is_refused_in_the_services_words(served, call):
    def answer() -> tuple[int, bytes]:
        """The gateway answers and closes before all is sent; a client that writes on may find the connection reset instead."""
        for _ in range(20):
            with contextlib.suppress(OSError):
                return call(f"{status(served).url}/predict", b"\xff\xd8" + bytes(55 * 2**20), "image/jpeg")[:2]
        raise AssertionError("the answer never came through")

    code, body = answer()

    assert (code, json.loads(body)["status"]["code"]) == (413, 413)


def test_slow_uploads_do_not_reach_the_service(served, call, colours):
    port = int(status(served).url.split(":")[2].split("/")[0])
    head = (
        b"POST /seldon/default/pets/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\nabc"
    )
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
    for connection in silent:
        connection.sendall(head)
    time.sleep(0.5)

    code, _, _ = call(f"{status(served).url}/predict", colours.red, "image/png")
    in_flight = [
        line
        for text in served.exposition("default", "pets", "v1").values()
        for line in text.splitlines()
        if line.startswith("imageloop_in_flight")
    ]
    for connection in silent:
        connection.close()

    assert code == 200
    assert {line.split()[-1] for line in in_flight} == {"0.0"}


def changed(manifest: Manifest, **predictor) -> Manifest:
    value = dump(manifest)
    value["spec"]["predictors"][0] |= predictor
    return Manifest.model_validate(value)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"graph": {"name": "a", "children": [{"name": "b"}], "modelUri": "file:///"}}, "a COMBINER or a ROUTER of models"),
        ({"graph": {"name": "a", "modelUri": "s3://bucket/model"}}, "a folder on this machine"),
        ({"graph": {"name": "a", "implementation": "TENSORFLOW_SERVER", "modelUri": "file:///"}}, "TENSORFLOW_SERVER"),
        ({"explainer": {"type": "AnchorImages"}}, "no explainer"),
    ],
)
def test_unsupported_manifest_fields_are_refused(served, part, words):
    with pytest.raises(DeploymentError, match=words):
        served.apply(changed(served.get("default", "pets"), **part))


def test_differences_of_the_local_cluster_are_named(cluster, predictor_spec):
    manifest = changed(render("pets", "default", [predictor_spec("1", image="repo/image:1")]), svcOrchSpec={"env": []})
    cluster.apply(manifest)

    assert any("svcOrchSpec" in note for note in status(cluster).notes)
    assert any("image of 'v1'" in note for note in status(cluster).notes)


def test_stopping_leaves_nothing_running(cluster, predictor_spec):
    cluster.apply(render("pets", "default", [predictor_spec("1")]))
    assert len(processes_of(cluster)) >= 3

    cluster.stop()

    assert processes_of(cluster) == []
    assert not cluster._layout.socket.exists()
    assert cluster.belonging_to("default", "imageloop") == []


@pytest.mark.parametrize("serves", [True, False], ids=["beside a deployment", "of the first"])
def test_the_next_change_ends_what_a_killed_deployment_had_started(cluster, predictor_spec, call, colours, monkeypatch, serves):
    """Killed between the start of its replicas and the moment when the site knows of them."""
    first = render("colours", "default", [predictor_spec()])
    if serves:
        cluster.apply(first)
    put = cluster._store.put
    monkeypatch.setattr(cluster._store, "put", lambda _state: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        cluster.apply(render("killed", "default", [predictor_spec("2")]))
    monkeypatch.setattr(cluster._store, "put", put)
    assert any("killed" in name for name in cluster._supervisor.states())

    with cluster.changing("default", "killed"):
        pass

    assert cluster._supervisor.is_running() is serves
    if serves:
        assert not any("killed" in name for name in cluster._supervisor.states())
        assert call(f"{cluster.describe('default', 'colours').url}/predict", colours.red, "image/png")[0] == 200


def test_a_stopped_deployment_resumes_unchanged(cluster, predictor_spec, call, colours):
    manifest = render("pets", "default", [predictor_spec("1")]).with_history([predictor_spec("0"), predictor_spec("1")])
    for one in (manifest, render("birds", "default", [predictor_spec("1")])):
        cluster.apply(one)
    url = status(cluster).url

    cluster.stop(keep=True)

    assert processes_of(cluster) == []
    assert "supervisor is gone" in status(cluster).description
    assert cluster.get("default", "pets") == manifest
    cluster.apply(manifest)
    assert (status(cluster).state, status(cluster).url) == ("Available", url)
    for address in (url, cluster.describe("default", "birds").url):
        assert call(f"{address}/predict", colours.red, "image/png")[0] == 200
    cluster.stop()
    assert cluster.belonging_to("default", "pets") == []


def test_keys_part_the_rights(make_cluster, predictor_spec, call, colours, monkeypatch):
    keys = {"alice": ("predict", "a" * 20), "prometheus": ("metrics", "b" * 20), "judge": ("feedback", "c" * 20)}
    monkeypatch.setenv("IMAGELOOP_API_KEYS", ";".join(f"{name}:{right}:{key}" for name, (right, key) in keys.items()))
    cluster = make_cluster(requests_per_second=1000)
    cluster.apply(render("pets", "default", [predictor_spec("1")]))
    url = status(cluster).url
    feedback = json.dumps({"request_id": "a" * 32, "label": "red"}).encode()

    def codes(**headers):
        return (
            call(f"{url}/predict", colours.red, "image/png", **headers)[0],
            call(f"{url}/metrics", **headers)[0],
            call(f"{url}/feedback", feedback, "application/json", **headers)[0],
        )

    found = {name: codes(X_API_Key=key) for name, (_, key) in keys.items()}
    cluster.stop()

    assert found == {"alice": (200, 403, 403), "prometheus": (403, 200, 403), "judge": (403, 403, 200)}


def test_a_key_with_the_predict_scope_chooses_no_predictor(make_cluster, predictor_spec, call, colours, monkeypatch):
    monkeypatch.setenv("IMAGELOOP_API_KEYS", f"alice:predict:{'a' * 20};bob:predict+try:{'b' * 20}")
    cluster = make_cluster()
    cluster.apply(render("pets", "default", [predictor_spec("1")]))

    def code(key: str, **headers) -> int:
        return call(f"{status(cluster).url}/predict", colours.red, "image/png", X_API_Key=key * 20, **headers)[0]

    chosen = {"X_Imageloop_Predictor": "v1"}
    found = code("a"), code("a", **chosen), code("b", **chosen)
    site = cluster.caller("default", "pets", "v1")
    headers = {name.replace("-", "_"): value for name, value in site.headers.items()}
    tried, _, _ = call(f"{site.url}/predict", colours.red, "image/png", **headers)
    cluster.stop()

    assert found == (200, 403, 200)
    assert tried == 200


def sources(cluster) -> set[str]:
    """Who the records say called."""
    lines = [line for file in cluster.records("default", "pets").glob("*.jsonl") for line in file.read_text().splitlines()]
    return {json.loads(line)["source"] for line in lines}


@pytest.mark.parametrize("api_keys", ["alice:predict:" + "a" * 20, ""], ids=["keys", "no keys"])
def test_a_caller_cannot_claim_another_name(make_cluster, predictor_spec, call, colours, monkeypatch, eventually, api_keys):
    monkeypatch.setenv("IMAGELOOP_API_KEYS", api_keys)
    cluster = make_cluster()
    cluster.apply(render("pets", "default", [predictor_spec("1")]))

    for name in ("alice", "bob", "carol"):
        assert call(f"{status(cluster).url}/predict", colours.red, "image/png", X_API_Key="a" * 20, X_Client=name)[0] == 200
    eventually(lambda: sources(cluster))
    found = sources(cluster)
    cluster.stop()

    assert len(found) == 1
    assert found.pop().startswith("http:") == bool(api_keys)


def test_a_request_without_a_key_is_refused(make_cluster, predictor_spec, call, colours, monkeypatch):
    monkeypatch.setenv("IMAGELOOP_API_KEYS", "alice:predict:" + "a" * 20)
    cluster = make_cluster()
    cluster.apply(render("pets", "default", [predictor_spec("1")]))

    code, body, _ = call(f"{status(cluster).url}/predict", colours.red, "image/png")
    cluster.stop()

    assert (code, json.loads(body)["status"]["code"]) == (401, 401)


def test_a_shell_without_the_keys_does_not_open_the_gateway(make_cluster, predictor_spec, call, colours, monkeypatch):
    monkeypatch.setenv("IMAGELOOP_API_KEYS", "alice:predict:" + "a" * 20)
    cluster = make_cluster()
    for name in ("pets", "birds"):
        cluster.apply(render(name, "default", [predictor_spec("1")]))
    monkeypatch.delenv("IMAGELOOP_API_KEYS")

    for change in (
        lambda: roll_out(cluster, DeploySettings(name="pets", model_name="colours", replicas=1), predictor_spec("2")),
        lambda: cluster.delete("default", "birds"),
    ):
        with pytest.raises(DeploymentError, match=r"the gateway has keys, and this shell has none"):
            change()
    code, _, _ = call(f"{status(cluster).url}/predict", colours.red, "image/png")
    names = {state.metadata.name for state in cluster.belonging_to("default", "pets")}
    cluster.stop(keep=True)
    with pytest.raises(DeploymentError, match="the gateway has keys, and this shell has none"):
        cluster.apply(render("pets", "default", [predictor_spec("1")]))
    cluster.stop()

    assert code == 401
    assert names == {"pets", "birds"}
    assert processes_of(cluster) == []
    cluster.apply(render("pets", "default", [predictor_spec("1")]))  # what was stopped may begin anew without
    code, _, _ = call(f"{status(cluster).url}/predict", colours.red, "image/png")
    cluster.stop()
    assert code == 200


def test_tls_is_a_matter_of_configuration(make_cluster, predictor_spec, tmp_path, colours):
    _, certificate = certify(tmp_path)
    cluster = make_cluster(tls_certificate=str(certificate), tls_key=str(tmp_path / "server.key"))
    settings = DeploySettings(name="pets", model_name="colours", replicas=1, strategy=Rolling())
    assert "health: ready" in roll_out(cluster, settings, predictor_spec("1")).smoke
    address = status(cluster).url
    trusting = ssl.create_default_context(cafile=certificate)

    request = urllib.request.Request(f"{address}/predict", colours.red, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, context=trusting, timeout=30) as answer:
        found = json.loads(answer.read())
    place = urlsplit(address)
    before = ssl.get_server_certificate((place.hostname, place.port))
    (tmp_path / "renewed").mkdir()
    certify(tmp_path / "renewed")
    for name in ("server.key", certificate.name):
        (tmp_path / "renewed" / name).rename(tmp_path / name)
    wait_until(lambda: ssl.get_server_certificate((place.hostname, place.port)) != before)
    cluster.stop()

    assert address.startswith("https://")
    assert found["label"] == "red"


def test_a_site_may_lie_at_a_path_with_a_blank_and_be_called_localhost(keys, predictor_spec, tmp_path, call, colours):
    trusted = {"IMAGELOOP_VERIFICATION_KEY": str(keys / "signing.pub")}
    cluster = LocalCluster(tmp_path / "my site", GatewaySettings(port=0, host="localhost"), serving_python(), trusted)
    try:
        cluster.apply(render("pets", "default", [predictor_spec("1")]))
        code, body, _ = call(f"{status(cluster).url}/predict", colours.red, "image/png")
    finally:
        cluster.stop()

    assert (code, json.loads(body)["label"]) == (200, "red")
    with pytest.raises(ValidationError, match="does not appear to be an IPv4 or IPv6 address"):
        GatewaySettings(host="models.example")


def test_without_keys_the_gateway_serves_its_own_host_names_alone(make_cluster, predictor_spec, call, monkeypatch):
    monkeypatch.setenv("IMAGELOOP_ORIGINS", "https://labels.example")
    cluster = make_cluster()
    cluster.apply(render("pets", "default", [predictor_spec("1")]))
    url = f"{status(cluster).url}/health/ping"

    codes = {name: call(url, Host=f"{name}:8080")[0] for name in ("localhost", "labels.example", "rebound.example")}
    cluster.stop()

    assert codes == {"localhost": 200, "labels.example": 200, "rebound.example": 404}


def test_a_broken_replica_harms_no_other_and_a_hanging_one_is_replaced(cluster, predictor_spec, make_package, monkeypatch):
    """The first has a package that is gone since, and is not running; the second has stopped to answer, and does not end."""
    monkeypatch.setattr("seldon.delivery.clusters.local.envoy_process.GATEWAY_SECONDS", 10)
    monkeypatch.setattr("seldon.delivery.clusters.local.replicas.HANGS_SECONDS", 1)
    package = make_package()
    cluster.apply(render("broken", "default", [predictor_spec("1", package)]))
    cluster.apply(render("pets", "default", [predictor_spec("1")]))
    (broken,) = cluster._store.get("default", "broken").replicas
    (hanging,) = cluster._store.get("default", "pets").replicas
    cluster._supervisor.remove(broken.name)
    (package / "model.json").unlink()
    stopped = [
        process
        for process in processes_of(cluster)
        if process.environ().get("PREDICTIVE_UNIT_HTTP_SERVICE_PORT") == str(hanging.port)
    ]
    for process in stopped:
        process.suspend()

    cluster.apply(render("pets", "default", [predictor_spec("1")]))

    (replica,) = cluster._store.get("default", "pets").replicas
    assert status(cluster).state == "Available"
    assert replica.name != hanging.name
    assert not (cluster._layout.replicas / hanging.name).exists()
    cluster.delete("default", "broken")


def test_replicas_get_no_password_of_the_shell(make_cluster, predictor_spec, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
    monkeypatch.setenv("IMAGELOOP_DATABASE", "postgresql://user:a-secret@host/records")
    cluster = make_cluster()
    cluster.apply(render("pets", "default", [predictor_spec("1")]))

    found = [value for process in processes_of(cluster) for value in process.environ().values() if "a-secret" in value]
    cluster.stop()

    assert found == []


def test_too_many_requests_get_a_retry_after(make_cluster, predictor_spec, call):
    cluster = make_cluster(requests_per_second=5)
    cluster.apply(render("pets", "default", [predictor_spec("1")]))

    responses = [call(f"{status(cluster).url}/health/ping") for _ in range(30)]
    cluster.stop()

    assert {code for code, _, _ in responses} == {200, 429}
    assert {headers["Retry-After"] for code, _, headers in responses if code == 429} == {"1"}


def test_an_address_beyond_loopback_needs_keys():
    with pytest.raises(SettingsError, match="expected keys for a gateway"):
        GatewaySettings(host="0.0.0.0").check([])


def test_a_user_keeps_a_predictor_while_its_share_grows(make_cluster, predictor_spec, make_package, call, colours):
    cluster = make_cluster(sticky_header="X-User-Id")
    other = make_package()

    def chosen(candidates_share: int, **headers: str) -> str:
        code, body, _ = call(f"{status(cluster).url}/predict", colours.red, "image/jpeg", **headers)
        assert code == 200
        return json.loads(body)["model"]["predictor"]

    found = {}
    for share in (30, 60):
        specs = [predictor_spec("1", traffic=100 - share), predictor_spec("2", other, traffic=share)]
        cluster.apply(render("pets", "default", specs))
        found[share] = {user: {chosen(share, X_User_Id=f"user-{user}") for _ in range(3)} for user in range(40)}

    assert all(len(predictors) == 1 for of_users in found.values() for predictors in of_users.values())
    candidates = {
        share: {user for user, predictors in of_users.items() if predictors == {"v2"}} for share, of_users in found.items()
    }
    assert 0 < len(candidates[30]) < len(candidates[60]) < 40
    assert candidates[30] <= candidates[60]
    assert {chosen(60) for _ in range(60)} == {"v1", "v2"}
    cluster.stop()
