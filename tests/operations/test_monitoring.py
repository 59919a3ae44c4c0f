"""What the monitor does with a retraining that fails, without one that runs: that takes a minute, in tests/system."""

import time
from types import SimpleNamespace

import pytest

from imageloop.errors import ImageLoopError
from imageloop.lifecycle.feedback_for_training import open_database
from imageloop.records.store.database import Decision
from operations import monitor_status, monitoring, retraining
from steps.pipeline_settings import MonitorSettings

SETTINGS = MonitorSettings()


@pytest.fixture
def begun(workspace):
    """Keep a retraining that was decided so many seconds ago, and let it fail: begun(60) gives what became of it."""

    def begin(seconds_ago: float) -> tuple[list[str], str | None]:
        database = open_database(workspace)
        database.decide("imageloop", Decision(f"of-{seconds_ago}", time.time() - seconds_ago, "retrain", "drift", {}))
        outcomes = monitoring._finish_interrupted(SETTINGS, workspace)
        (kept,) = database.decisions("imageloop", 5)
        database.close()
        return outcomes, kept.outcome

    return begin


@pytest.fixture(autouse=True)
def failing(monkeypatch):
    def fail(_settings, _decision):
        raise ConnectionError("the tracker is away")

    monkeypatch.setattr(monitoring, "carry_out", fail)


@pytest.mark.parametrize(("learnt_at", "trained"), [(50.0, True), (150.0, False)])
def test_a_champion_that_was_made_before_the_kill_is_rolled_out_and_not_trained_again(workspace, monkeypatch, learnt_at, trained):
    registry = SimpleNamespace(champion=lambda: "4", learnt_since=lambda _version, time: learnt_at > time)
    asked = []
    monkeypatch.setattr("imageloop.adapters.mlflow_registry.ModelRegistry", lambda _name: registry)
    monkeypatch.setattr(retraining, "open_store", lambda: None)
    monkeypatch.setattr(
        retraining,
        "_retrain",
        lambda *_: asked.append("training") or SimpleNamespace(outcome="champion", model_version="5", ladder=None),
    )
    monkeypatch.setattr(
        "operations.deployment.deploy", lambda _settings: SimpleNamespace(version="5" if asked else "4", outcome="promoted")
    )

    said = retraining.retrain_and_roll_out(SETTINGS, Decision("cut-off", 100.0, "retrain", "drift", {}))

    assert (asked == ["training"]) == trained
    assert said.startswith(f"promoted: version {5 if trained else 4} serves")


def test_a_retraining_that_fails_is_tried_again_and_stops_no_look(begun):
    assert begun(60) == ([], None)


def test_one_that_failed_for_long_is_given_up(begun, workspace):
    said = "failed: ConnectionError: the tracker is away"
    monitor_status.remember(workspace, "failing since of-7200", time.time() - 7000)

    assert begun(7200) == ([said], said)


def test_an_old_decision_is_retried_at_its_first_failure(begun, workspace):
    assert begun(7200) == ([], None)
    assert monitor_status.read_memory(workspace)["failing since of-7200"] > time.time() - 60


@pytest.fixture
def channel(monkeypatch):
    """A notification channel; while it is `away` it fails."""
    heard = SimpleNamespace(texts=[], away=False)

    def notify(_kind, _model, text, _metrics, *, is_news):
        if is_news and not heard.away:
            heard.texts.append(text)
        return not heard.away

    monkeypatch.setattr("imageloop.adapters.alerter.alerter.active_alerter", lambda: SimpleNamespace(notify=notify))
    return heard


def test_a_channel_is_notified_once_and_again_after_a_failure(workspace, channel):
    def run_monitor(decision: str) -> None:
        monitoring._notify(monitoring.MonitoringRun("local", "alert", decision), [], decision, SETTINGS, workspace)

    for decision in ("drift", "drift"):
        run_monitor(decision)
    channel.away = True
    run_monitor("poisoned")
    channel.away = False
    run_monitor("poisoned")
    run_monitor("poisoned")

    assert channel.texts == ["drift", "poisoned"]


def test_what_does_not_serve_is_news_each_time_that_it_breaks(workspace, monkeypatch):
    notified = []
    alerter = SimpleNamespace(
        notify=lambda kind, _name, text, _metrics, *, is_news: notified.append((kind, text, is_news)) or True
    )
    monkeypatch.setattr("imageloop.adapters.alerter.alerter.active_alerter", lambda: alerter)
    run = monitoring.MonitoringRun("local", "nothing", "no drift", broken="default/pets: 'v1' cannot be loaded")
    for result in (run, run, monitoring.MonitoringRun("local", "nothing", "no drift"), run):
        monitoring._notify(result, result.outcomes, "", SETTINGS, workspace)

    assert notified == [("alert", run.broken, True), ("alert", run.broken, False), ("alert", run.broken, True)]


def test_a_deployment_that_cannot_be_started_again_is_named(workspace, monkeypatch):
    def repair():
        raise ImageLoopError("default/pets: its package is gone")

    monkeypatch.setattr(monitoring, "read_deployed", lambda *_: SimpleNamespace(cluster=None))
    monkeypatch.setattr(monitoring, "active_stack_id", lambda: "1")
    monkeypatch.setattr(monitoring, "open_cluster", lambda *_: SimpleNamespace(repair=repair))

    assert monitoring._repair_deployments(workspace) == "default/pets: its package is gone"
