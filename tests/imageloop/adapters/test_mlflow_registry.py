import time
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from imageloop.adapters.champion_history import later_champions
from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.errors import ImageLoopError


def registry_that_fails_with(code) -> ModelRegistry:
    def fail(*_):
        raise MlflowException("the server says so", error_code=code)

    registry = ModelRegistry.__new__(ModelRegistry)
    registry.name, registry._client = "pets", SimpleNamespace(get_model_version_by_alias=fail)
    return registry


def test_a_model_that_is_not_there_has_no_champion():
    assert registry_that_fails_with(RESOURCE_DOES_NOT_EXIST).champion() is None


@pytest.mark.parametrize("code", [INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE])
def test_a_failing_registry_is_not_taken_for_one_without_a_champion(code):
    with pytest.raises(ImageLoopError, match="expected the champion of 'pets' from the registry, got: the server says so"):
        registry_that_fails_with(code).champion()


def test_every_page_of_a_large_registry_is_read(workspace, monkeypatch):
    monkeypatch.setattr("imageloop.adapters.mlflow_registry.connect", lambda: None)
    monkeypatch.setattr("imageloop.adapters.champion_history.connect", lambda: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.home}/mlflow.db")
    client = mlflow.MlflowClient()
    for number in range(5):
        client.create_registered_model(f"m{number}")
        for _ in range(2):
            client.create_model_version(f"m{number}", str(workspace.home))
        client.set_registered_model_alias(f"m{number}", "champion", "2")
    monkeypatch.setattr("imageloop.adapters.mlflow_registry.A_PAGE", 2)

    assert later_champions() == {f"m{number}": "2@0" for number in range(5)}


def test_a_removed_or_replaced_champion_invalidates_the_cache(workspace, monkeypatch):
    monkeypatch.setattr("imageloop.adapters.mlflow_registry.connect", lambda: None)
    monkeypatch.setattr("imageloop.adapters.champion_history.connect", lambda: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.home}/mlflow.db")
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("pets")).info.run_id
    registry = ModelRegistry("pets")

    def train() -> None:
        if not client.search_registered_models():
            client.create_registered_model("pets")
        version = client.create_model_version("pets", str(workspace.home), run, tags={"verdict": "advance"})
        registry.promote(version.version)

    assert later_champions() == {}
    train()
    assert later_champions() == {}  # what the run did itself
    client.delete_registered_model_alias("pets", "champion")
    seen = [later_champions()]
    train()
    seen.append(later_champions())
    for _ in range(2):
        client.delete_registered_model("pets")
        seen.append(later_champions())
        train()
        seen.append(later_champions())  # alone, version 1 and of the same run, and yet not what was known then

    assert [state["pets"] for state in seen] == ["@1", "2@2", "@2", "1@3", "@3", "1@4"]


def test_a_version_trained_with_feedback_is_distinguished_from_one_without(workspace, monkeypatch):
    monkeypatch.setattr("imageloop.adapters.mlflow_registry.connect", lambda: None)
    monkeypatch.setattr("imageloop.adapters.champion_history.connect", lambda: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace.home}/mlflow.db")
    client, begun = mlflow.MlflowClient(), time.time()
    client.create_registered_model("pets")
    for tags in ({"labels": "60"}, {"labels": "0"}, {}):
        client.create_model_version("pets", str(workspace.home), tags=tags)
    registry = ModelRegistry("pets")

    assert [registry.learnt_since(version, begun - 60) for version in "123"] == [True, False, False]
    assert not registry.learnt_since("1", begun + 60)
