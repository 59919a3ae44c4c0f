"""The monitor's metrics where pods serve: pushed to a real Pushgateway, which Prometheus reads."""

import shutil
import subprocess
import time
import urllib.request

import pytest

from operations.monitor_status import PUSHGATEWAY_VARIABLE, push_metrics
from seldon.delivery.clusters.local.site_folders import free_port

STATUS = {
    "model": "pets", "version": "3", "deployment": "imageloop-staging/pets", "action": "alert", "timestamp": 1000.0, "due": 2000.0,
    "metrics": {"drift_p_value": 0.002, "estimated_accuracy": 0.71},
}  # fmt: skip


@pytest.fixture
def pushgateway(monkeypatch):
    """The address of a Pushgateway."""
    if shutil.which("prometheus-pushgateway") is None:
        pytest.skip("no Pushgateway here")
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(["prometheus-pushgateway", f"--web.listen-address={address}", "--log.level=error"])
    monkeypatch.setenv(PUSHGATEWAY_VARIABLE, f"http://{address}")
    for _ in range(200):
        try:
            read(f"http://{address}")
            break
        except OSError:
            time.sleep(0.05)
    yield f"http://{address}"
    process.terminate()
    process.wait(10)


def read(address: str) -> list[str]:
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as response:
        return [line for line in response.read().decode().splitlines() if line.startswith("imageloop_")]


def test_each_run_replaces_the_metrics_of_the_one_before(pushgateway):
    push_metrics(STATUS)
    first = read(pushgateway)
    push_metrics(STATUS | {"version": "4", "metrics": {"drift_p_value": 0.5}})
    second = read(pushgateway)

    labels = 'deployment="imageloop-staging/pets",instance="",job="imageloop-monitor",model="pets",version="3"'
    assert f"imageloop_drift_p_value{{{labels}}} 0.002" in first
    assert any(line.startswith('imageloop_decision{action="alert"') for line in first)
    assert f"imageloop_monitoring_run_due_timestamp_seconds{{{labels}}} 2000" in first
    assert [line for line in second if 'version="3"' in line or "estimated" in line] == []


def test_an_address_without_a_pushgateway_is_logged_and_stops_nothing(monkeypatch, caplog):
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv(PUSHGATEWAY_VARIABLE, address)

    push_metrics(STATUS)

    assert address in caplog.text
    assert PUSHGATEWAY_VARIABLE in caplog.text


def test_without_an_address_nothing_is_pushed(monkeypatch):
    monkeypatch.delenv(PUSHGATEWAY_VARIABLE, raising=False)

    push_metrics({})
