from pathlib import Path

import pytest

from imageloop.batch_prediction.settings import BatchPredictionSettings
from imageloop.settings_files import load_settings
from seldon.delivery.rollouts.settings import DeploySettings
from steps.pipeline_settings import MonitorSettings, TrainSettings, TuneSettings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("file", sorted(CONFIGS.rglob("*.yaml")), ids=lambda file: file.name)
def test_every_file_under_configs_is_valid(file):
    kinds = dict.fromkeys(("deploy", "staging", "production"), DeploySettings) | {
        "monitor": MonitorSettings,
        "demo-loop": MonitorSettings,
        "tune": TuneSettings,
        "predict": BatchPredictionSettings,
    }

    load_settings(kinds.get(file.stem, TrainSettings), file, [])


def test_a_number_may_stand_for_a_replicas_variable():
    settings = load_settings(DeploySettings, None, ["environment.IMAGELOOP_RETAINED_IMAGES_MB=512", "environment.RATE=0.05"])

    assert settings.environment == {"IMAGELOOP_RETAINED_IMAGES_MB": "512", "RATE": "0.05"}
