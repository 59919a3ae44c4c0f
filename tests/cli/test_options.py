from cli.options import deploy_presets, deployment_of, monitor_presets, train_presets
from imageloop.settings_files import load_settings
from seldon.delivery.rollouts.settings import DeploySettings
from steps.pipeline_settings import MonitorSettings, TrainSettings


def test_without_a_model_nothing_is_preset():
    assert train_presets(None) == deploy_presets(None) == monitor_presets(None) == {}


def test_one_name_is_the_registered_model_the_deployment_and_the_monitored_one():
    trained = load_settings(TrainSettings, None, [], **train_presets("My_Pets"))
    deployed = load_settings(DeploySettings, None, [], **deploy_presets("My_Pets"))
    monitored = load_settings(MonitorSettings, None, [], **monitor_presets("My_Pets"))

    assert trained.promotion.model_name == deployed.model_name == monitored.monitoring.model_name == "My_Pets"
    assert deployed.name == monitored.rollout.name == deployment_of("My_Pets") == "my-pets"
    assert monitored.monitoring.deployment == "default/my-pets"
