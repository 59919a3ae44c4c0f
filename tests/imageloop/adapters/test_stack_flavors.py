"""A stack is refused with the reason where the pipelines cannot work with one of its flavors."""

import pytest

from imageloop.adapters.stack_flavors import refuse_unsupported
from imageloop.errors import SettingsError

LOCAL = {"orchestrator": "local", "artifact_store": "local", "experiment_tracker": "mlflow", "model_deployer": "imageloop_seldon"}


def test_our_flavors_and_kinds_that_are_not_used_may_be_there():
    refuse_unsupported("own", LOCAL | {"data_validator": "great_expectations", "alerter": "imageloop_alerter"})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"experiment_tracker": "wandb"}, "experiment tracker .* 'mlflow', got 'wandb': versions, the champion"),
        ({"orchestrator": "airflow"}, "orchestrator .* 'local' or 'kubernetes', got 'airflow': the workspace"),
        ({"orchestrator": "local_docker"}, "got 'local_docker'"),
        ({"model_deployer": "mlflow"}, "got 'mlflow': rollouts"),
        ({"alerter": "slack"}, "got 'slack': alerts"),
        ({"artifact_store": "gcp"}, "expected the package gcsfs .* uv pip install gcsfs"),
    ],
)
def test_another_flavor_is_refused_with_the_reason(changed, words, monkeypatch):
    monkeypatch.setattr("imageloop.adapters.stack_flavors.find_spec", lambda name: None if name == "gcsfs" else object())

    with pytest.raises(SettingsError, match=words):
        refuse_unsupported("own", LOCAL | changed)


def test_a_stack_without_a_tracker_is_refused():
    without = {kind: flavor for kind, flavor in LOCAL.items() if kind != "experiment_tracker"}

    with pytest.raises(
        SettingsError, match="expected a stack with a component experiment tracker of the flavor 'mlflow', got 'own'"
    ):
        refuse_unsupported("own", without)
