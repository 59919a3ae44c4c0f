import pytest

from seldon.delivery.clusters.settings import KubernetesSettings, LocalSettings
from seldon.delivery.rollouts.settings import DeploySettings
from steps.pipeline_settings import MonitorSettings

STACK = KubernetesSettings(namespace="staging", image="registry.example/imageloop-serve@sha256:1")


def test_a_deployment_takes_namespace_and_image_of_its_stack():
    settings = DeploySettings(name="pets").on(STACK)

    assert (settings.namespace, settings.name, settings.image) == ("staging", "pets", STACK.image)
    assert settings.on(STACK) == settings


def test_what_a_deployment_names_itself_comes_before_its_stack():
    settings = DeploySettings(namespace="own", image="registry.example/other@sha256:2")

    assert settings.on(STACK) == settings


@pytest.mark.parametrize("cluster", [LocalSettings(), KubernetesSettings(), KubernetesSettings(image="")])
def test_a_stack_that_names_neither_changes_nothing(cluster):
    assert DeploySettings().on(cluster) == DeploySettings()


def test_a_monitor_watches_what_it_rolls_out():
    settings = MonitorSettings.model_validate({"rollout": {"name": "pets"}, "monitoring": {"deployment": "default/pets"}}).on(
        STACK
    )

    assert settings.monitoring.deployment == "staging/pets"
    assert (settings.rollout.namespace, settings.rollout.image) == ("staging", STACK.image)
