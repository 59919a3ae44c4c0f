"""What the watch does with a retraining that fails, without one that runs: that takes a minute, in tests/system."""

import time

import pytest

from adapters.records import open_database
from configs.models import WatchSettings
from operations import monitoring
from records.store.database import Decision

SETTINGS = WatchSettings()


@pytest.fixture
def begun(workspace):
    """Keep a retraining that was decided so many seconds ago, and let it fail: begun(60) gives what became of it."""

    def begin(seconds_ago: float) -> tuple[list[str], str | None]:
        database = open_database(workspace)
        database.decide("imageloop", Decision(f"of-{seconds_ago}", time.time() - seconds_ago, "retrain", "drift", {}))
        outcomes = monitoring._finish_what_was_begun(SETTINGS, workspace)
        (kept,) = database.decisions("imageloop", 5)
        database.close()
        return outcomes, kept.outcome

    return begin


@pytest.fixture(autouse=True)
def failing(monkeypatch):
    def fail(_settings, _imitation):
        raise ConnectionError("the tracker is away")

    monkeypatch.setattr(monitoring, "_retrain_and_roll_out", fail)


def test_a_retraining_that_fails_is_tried_again_and_stops_no_look(begun):
    assert begun(60) == ([], None)


def test_one_that_failed_for_long_is_given_up(begun):
    said = "failed: ConnectionError: the tracker is away"

    assert begun(7200) == ([said], said)
