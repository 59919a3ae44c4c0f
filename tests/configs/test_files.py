from pathlib import Path

import pytest

from configs.loading import load_settings
from configs.models import TrainSettings, WatchSettings
from seldon.rollouts.settings import DeploySettings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_every_file_under_configs_is_valid(file):
    kinds = dict.fromkeys(("deploy", "staging", "production"), DeploySettings) | {
        "monitor": WatchSettings,
        "story": WatchSettings,
    }

    load_settings(kinds.get(file.stem, TrainSettings), file, [])
