from pathlib import Path

import pytest

from configs.loading import load_settings
from configs.models import TrainSettings
from seldon.rollouts.settings import DeploySettings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_under_configs_is_valid(file):
    load_settings(DeploySettings if file.name.startswith("deploy") else TrainSettings, file, [])
