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
