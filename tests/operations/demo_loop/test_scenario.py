"""Which folders a demo loop may empty; the loop itself is played in tests/system."""

import pytest

from imageloop.errors import SettingsError
from operations.demo_loop import scenario


def test_only_the_folder_of_an_earlier_demo_loop_is_emptied(tmp_path, draw_folder):
    (tmp_path / "config" / "zenml").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / scenario.MARK).touch()

    scenario.check(tmp_path / "demo", draw_folder(cat=10, dog=10))
    scenario.check(tmp_path / "new", None)
    for folder, data, words in (
        ("config", None, "other files"),
        ("file", None, "got a file"),
        ("new", "none", "got nothing"),
    ):
        with pytest.raises(SettingsError, match=words):
            scenario.check(tmp_path / folder, tmp_path / data if data else None)
