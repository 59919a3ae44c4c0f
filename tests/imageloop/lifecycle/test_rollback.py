from types import SimpleNamespace

import pytest

from imageloop.adapters.mlflow_registry import UnknownVersionError
from imageloop.errors import ImageLoopError
from imageloop.lifecycle import rollback
from imageloop.lifecycle.rollback import note_rollback, record_noted_rollbacks


def test_a_rollback_is_recorded_in_the_registry_when_it_is_reachable_again(workspace, monkeypatch):
    def gone(**_):
        raise ImageLoopError("no registry")

    revoked = []
    note_rollback("pets", "7", "6", "too many errors", workspace)
    monkeypatch.setattr(rollback, "revoke", gone)
    with pytest.raises(ImageLoopError):
        record_noted_rollbacks(workspace)
    monkeypatch.setattr(rollback, "revoke", lambda **arguments: revoked.append(arguments))

    record_noted_rollbacks(workspace)
    record_noted_rollbacks(workspace)

    assert revoked == [{"model_name": "pets", "bad": "7", "good": "6", "reason": "too many errors", "workspace": workspace}]


def test_a_rollback_is_recorded_in_its_own_registry_and_no_note_blocks_for_ever(workspace, monkeypatch):
    def unknown(model_name, **_):
        raise UnknownVersionError(f"expected version '7' of '{model_name}', got none")

    monkeypatch.setattr(rollback, "connect", lambda: "https://team")
    monkeypatch.setattr(rollback, "revoke", unknown)
    note_rollback("laptops", "3", "2", "by hand", workspace, registry="sqlite:///mlflow.db")
    note_rollback("forgotten", "7", "6", "by hand", workspace, registry="https://team")

    record_noted_rollbacks(workspace)

    assert sorted(note.name for note in workspace.rollbacks.iterdir()) == ["forgotten--7.unknown", "laptops--3.json"]


@pytest.mark.parametrize(
    ("good", "champion"),
    [("6", "6"), ("5+6", "5"), ("6|4", "4"), ("7+4", "4"), ("6+3", "7"), (None, "7")],
    ids=["one", "the first of several", "none that awaits approval", "not the bad one", "none of them", "nothing"],
)
def test_who_becomes_champion_after_a_rollback(workspace, monkeypatch, good, champion):
    """Of several versions that served together the first one that was approved; the bad one is 7, and was the champion."""
    verdicts = {"3": "rollback", "4": "advance", "5": "advance", "6": "hold", "7": "advance"}
    state = {"champion": "7"}
    registry = SimpleNamespace(
        get=lambda version: SimpleNamespace(verdict=verdicts[version]),
        set_verdict=lambda version, verdict, _by: verdicts.update({version: verdict}),
        set_tag=lambda *_: None,
        champion=lambda: state["champion"],
        promote=lambda version: state.update(champion=version),
    )
    monkeypatch.setattr(rollback, "ModelRegistry", lambda _name: registry)

    rollback.revoke("pets", "7", good, "too many errors", workspace)

    assert (state["champion"], verdicts["7"]) == (champion, "rollback")
