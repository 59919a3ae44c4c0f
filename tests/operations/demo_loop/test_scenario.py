"""What a story may empty; it is played in tests/system."""

import pytest

from imageloop.errors import SettingsError
from operations.demo_loop import scenario


def test_only_an_earlier_story_goes(tmp_path, draw_folder):
    (tmp_path / "config" / "zenml").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "story").mkdir()
    (tmp_path / "story" / scenario.MARK).touch()

    scenario.check(tmp_path / "story", draw_folder(cat=10, dog=10))
    scenario.check(tmp_path / "new", None)
    for folder, data, words in (
        ("config", None, "other things"),
        ("file", None, "found a file"),
        ("new", "none", "found nothing"),
    ):
        with pytest.raises(SettingsError, match=words):
            scenario.check(tmp_path / folder, tmp_path / data if data else None)
