"""Rules, routes and dashboards of deploy/observability, by the tools that will read them: promtool, amtool, Prometheus, Alertmanager."""

import contextlib
import http.server
import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from deploy.observability import start_prometheus
from deploy.observability.grafana import render_dashboards
from imageloop.adapters.alerter.messages import WEBHOOK_VARIABLE, notify
from seldon.delivery.clusters.local.site_folders import free_port

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "observability"


pytestmark = pytest.mark.xdist_group("observability")
needs_prometheus = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("prometheus", "promtool", "amtool")), reason="no Prometheus and Alertmanager here"
)


@needs_prometheus
def test_each_alert_fires_in_one_scenario_and_not_in_another():
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts.yml"],
        cwd=FOLDER / "prometheus" / "tests",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    tests = yaml.safe_load((FOLDER / "prometheus" / "tests" / "alerts.yml").read_text())["tests"]
    tried = [(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test.get("alert_rule_test", [])]
    rules = yaml.safe_load((FOLDER / "prometheus" / "rules" / "alerts.yml").read_text())
    names = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert set(tried) == {(name, fires) for name in names for fires in (True, False)}


@needs_prometheus
def test_configurations_are_valid_for_their_programs():
    for command in (
        ["promtool", "check", "config", "--syntax-only", FOLDER / "prometheus" / "prometheus.yml"],
        ["promtool", "check", "rules", *sorted((FOLDER / "prometheus" / "rules").glob("*.yml"))],
        ["amtool", "check-config", FOLDER / "alertmanager" / "alertmanager.yml"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_a_message_is_worded_by_our_template(tmp_path):
    labels = {"alertname": "ImageLoopDrift", "model": "pets"}
    alerts = [
        {
            "status": "firing",
            "labels": labels,
            "annotations": {"summary": "the camera changed"},
            "startsAt": "2026-01-01T00:00:00Z",
        }
    ]
    (tmp_path / "data.json").write_text(json.dumps({"status": "firing", "alerts": alerts, "commonLabels": labels}))
    text = '{{ template "imageloop.title" . }} | {{ template "imageloop.text" . }}'
    options = {"glob": FOLDER / "alertmanager" / "*.tmpl", "text": text, "data": tmp_path / "data.json"}
    command = ["amtool", "template", "render", *(f"--template.{name}={value}" for name, value in options.items())]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "1 firing: ImageLoopDrift (pets) | the camera changed" in done.stdout


def test_dashboards_are_rendered_from_their_description():
    for file, text in render_dashboards.render_all().items():
        assert file.read_text() == text, f"{file.name} is old; run: python deploy/observability/grafana/render_dashboards.py"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments) -> None:
        pass


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.received = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def running(command, log: Path):
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(url: str):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())


def until(condition, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := condition():
                return found
        time.sleep(0.2)
    raise AssertionError("it did not come true")


@needs_prometheus
def test_an_alert_of_the_monitor_reaches_a_receiver_through_alertmanager(tmp_path, receiver, monkeypatch):
    port = free_port()
    start_prometheus.write_site(tmp_path, f"127.0.0.1:{port}")
    configuration = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())
    configuration["route"]["group_wait"] = "0s"
    configuration["receivers"][0]["webhook_configs"] = [{"url": f"http://127.0.0.1:{receiver.server_port}/"}]
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(configuration))
    monkeypatch.delenv(WEBHOOK_VARIABLE, raising=False)
    address = f"http://127.0.0.1:{port}"

    with running(start_prometheus.commands(tmp_path, free_port(), port)[1], tmp_path / "log"):
        until(lambda: ask(f"{address}/api/v2/status"))
        notify(address, 60, "alert", "pets", "2 of the last 3 windows drifted", {"p": 0.002})
        until(lambda: receiver.received)

    (found,) = receiver.received[0]["alerts"]
    assert found["labels"] == {"alertname": "ImageLoopAlert", "model": "pets", "severity": "warning"}
    assert found["annotations"]["summary"] == "2 of the last 3 windows drifted"


def test_a_webhook_gets_slacks_format_and_a_dead_one_stops_nothing(receiver, monkeypatch, caplog):
    monkeypatch.setenv(WEBHOOK_VARIABLE, f"http://127.0.0.1:{receiver.server_port}/secret")
    delivered = notify("", 60, "retrain", "pets", "accuracy is low", {})
    notify("", 60, "alert", "pets", "as a minute ago", {}, is_news=False)
    monkeypatch.setenv(WEBHOOK_VARIABLE, f"http://127.0.0.1:{free_port()}/secret")
    lost = notify("", 60, "retrain", "pets", "accuracy is low", {})

    assert (delivered, lost) == (True, False)
    assert receiver.received == [{"text": "pets: retrain: accuracy is low"}]
    assert "could not be delivered" in caplog.text
    assert "secret" not in caplog.text


@needs_prometheus
def test_no_panel_is_empty_where_a_service_is_at_work(cluster, predictor_spec, call, colours, load, tmp_path):
    from seldon.delivery.render_manifest import render as render_manifest

    cluster.apply(render_manifest("pets", "default", [predictor_spec("1", replicas=2)]))
    status = cluster.describe("default", "pets")
    metrics = {
        "drift_p_value": 0.3, "estimated_accuracy": 0.9, "estimated_low": 0.8, "estimated_high": 0.95, "reference_accuracy": 0.91, "out_of_distribution_share": 0.01, "accuracy": 0.9, "accuracy_low": 0.8,
        "accuracy_high": 0.95, "accuracy_threshold": 0.85, "labels": 40,
    }  # fmt: skip
    loop = {
        "model": "colours",
        "version": "1",
        "action": "nothing",
        "reason": "nothing has changed",
        "timestamp": time.time(),
        "metrics": metrics,
    }
    (cluster._layout.folder / "monitor_status.json").write_text(json.dumps(loop))
    plain = {
        "namespace": "default",
        "name": "pets",
        "predictors": [{"name": part.name, "replicas": [vars(one) for one in part.replicas]} for part in status.predictors],
    }
    port = free_port()
    start_prometheus.write_site(tmp_path, f"127.0.0.1:{free_port()}")
    text = (tmp_path / "prometheus.yml").read_text().replace("5s", "1s")
    (tmp_path / "prometheus.yml").write_text(text)
    (tmp_path / "targets.json").write_text(json.dumps(start_prometheus.targets_of({"deployments": [plain]})))
    panels = [panel for dashboard in render_dashboards.render_all().values() for panel in json.loads(dashboard)["panels"]]
    address = f"http://127.0.0.1:{port}"

    def is_filled(query: str) -> bool:
        asked = query.replace("$deployment", ".+").replace("$__rate_interval", "1m")
        found = ask(f"{address}/api/v1/query?{urllib.parse.urlencode({'query': asked})}")["data"]["result"]
        return any(series["value"][1] != "NaN" for series in found)

    with (
        running(start_prometheus.commands(tmp_path, port, free_port())[0], tmp_path / "log"),
        load(status.url, clients=2) as callers,
    ):
        callers.wait_for(50)
        _, answer, _ = call(f"{status.url}/predict", colours.red, "image/png")
        call(
            f"{status.url}/feedback",
            json.dumps({"request_id": json.loads(answer)["request_id"], "label": "red"}).encode(),
            "application/json",
        )
        call(f"{status.url}/predict", b"no image", "image/png")
        time.sleep(3)
        call(f"{status.url}/predict", b"no image", "image/png")
        empty = [
            (panel["title"], target["expr"])
            for panel in panels
            for target in panel["targets"]
            if not _comes_true(lambda query=target["expr"]: is_filled(query))
        ]

    assert len(panels) > 20
    assert empty == []


def _comes_true(condition) -> bool:
    try:
        return bool(until(condition, 25))
    except AssertionError:
        return False
