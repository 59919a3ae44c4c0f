"""Names of what `predict` writes; the rest is tried in tests/system."""

from pathlib import Path

from operations.prediction import _names_of_heat_maps


def test_no_heat_map_overwrites_another():
    files = [Path("pets/train/cat/1.jpg"), Path("pets/test/cat/1.jpg"), Path("/mnt/cat/1.jpg")]

    assert list(_names_of_heat_maps(files).values()) == ["train_cat_1.jpg.png", "test_cat_1.jpg.png", "mnt_cat_1.jpg.png"]
    assert _names_of_heat_maps([Path("cat/1.jpg"), Path("cat/1.jpg")]) == {Path("cat/1.jpg"): "cat_1.jpg.png"}
    assert _names_of_heat_maps([Path("1.jpg")]) == {Path("1.jpg"): "1.jpg.png"}
    assert list(_names_of_heat_maps([Path("cat", "猫" * 84), Path("cat/1.jpg")]).values()) == ["0.png", "1.png"]
