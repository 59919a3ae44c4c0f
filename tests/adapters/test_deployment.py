import pytest

from adapters import deployment
from adapters.deployment import note_rollback, tell_of_rollbacks
from classifier.errors import ImageLoopError


def test_a_rollback_is_told_to_the_registry_once_it_can_be_reached(workspace, monkeypatch):
    def gone(**_):
        raise ImageLoopError("no registry")

    told = []
    note_rollback("pets", "7", "6", "too many errors", workspace)
    monkeypatch.setattr(deployment, "take_back", gone)
    with pytest.raises(ImageLoopError):
        tell_of_rollbacks(workspace)
    monkeypatch.setattr(deployment, "take_back", lambda **words: told.append(words))

    tell_of_rollbacks(workspace)
    tell_of_rollbacks(workspace)

    assert told == [{"model_name": "pets", "bad": "7", "good": "6", "reason": "too many errors", "workspace": workspace}]
