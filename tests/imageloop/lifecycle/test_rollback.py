import pytest

from imageloop.adapters.mlflow_registry import UnknownVersionError
from imageloop.errors import ImageLoopError
from imageloop.lifecycle import rollback
from imageloop.lifecycle.rollback import note_rollback, tell_of_rollbacks


def test_a_rollback_is_told_to_the_registry_once_it_can_be_reached(workspace, monkeypatch):
    def gone(**_):
        raise ImageLoopError("no registry")

    told = []
    note_rollback("pets", "7", "6", "too many errors", workspace)
    monkeypatch.setattr(rollback, "take_back", gone)
    with pytest.raises(ImageLoopError):
        tell_of_rollbacks(workspace)
    monkeypatch.setattr(rollback, "take_back", lambda **words: told.append(words))

    tell_of_rollbacks(workspace)
    tell_of_rollbacks(workspace)

    assert told == [{"model_name": "pets", "bad": "7", "good": "6", "reason": "too many errors", "workspace": workspace}]


def test_a_rollback_is_told_to_its_own_registry_and_no_note_stands_in_the_way_for_ever(workspace, monkeypatch):
    def unknown(model_name, **_):
        raise UnknownVersionError(f"wanted version '7' of '{model_name}', found none")

    monkeypatch.setattr(rollback, "connect", lambda: "https://team")
    monkeypatch.setattr(rollback, "take_back", unknown)
    note_rollback("laptops", "3", "2", "by hand", workspace, registry="sqlite:///mlflow.db")
    note_rollback("forgotten", "7", "6", "by hand", workspace, registry="https://team")

    tell_of_rollbacks(workspace)

    assert sorted(note.name for note in workspace.rollbacks.iterdir()) == ["forgotten--7.unknown", "laptops--3.json"]
