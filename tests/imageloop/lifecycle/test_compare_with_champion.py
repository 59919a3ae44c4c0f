"""What a version is judged by; whole trainings are compared in tests/system."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from imageloop.adapters.registered_version import RegisteredVersion
from imageloop.data.ingestion import prepared_store
from imageloop.data.prepared_images import PreparedImages
from imageloop.lifecycle.compare_with_champion import _at_hand, best_champion, hash_of_test_set, taught_by, without
from steps.pipeline_settings import TrainSettings


@pytest.fixture
def images(workspace) -> PreparedImages:
    """Four test images and one to train on. With seed 8, the first two stood otherwise."""
    known = pd.DataFrame(
        {"seed": 8, "sha256": ["a", "b", "c"], "group": "g", "split": ["train", "validation", "test"], "added_at": 0.0}
    )
    workspace.data.mkdir()
    known.to_parquet(workspace.data / "known.parquet")
    table = pd.DataFrame({"sha256": ["a", "b", "c", "d", "e"], "split": ["test", "test", "test", "test", "train"]})
    return PreparedImages(table, ["cat", "dog"], 224, "d1", str(workspace.data / "raw"))


def test_a_champion_of_another_image_size_is_compared_on_available_images(images, workspace):
    prepared_store(workspace.prepared, 64).append(["b", "e"], np.zeros((2, 64, 64, 3), np.uint8), [{}, {}])

    found = _at_hand(images, 64, workspace)

    assert (found.of_split("test")["sha256"].tolist(), found.side_pixels) == (["b"], 64)
    assert len(found.of_split("train")) == 1


def registry_of(**seeds: int | None):
    """Versions that were made with these seeds of the split; None where that was not kept."""
    made = {
        name: seed and SimpleNamespace(data=TrainSettings.model_validate({"data": {"split": {"seed": seed}}}).data)
        for name, seed in seeds.items()
    }
    return SimpleNamespace(made_with=made.get)


def test_no_version_is_judged_by_images_that_taught_it(images, workspace):
    registry = registry_of(v7=7, v8=8, old=None)

    def left(*versions: str) -> list[str]:
        return without(images, taught_by(registry, list(versions), workspace)).of_split("test")["sha256"].tolist()

    assert left("v7") == left("old") == ["a", "b", "c", "d"]
    assert left("v8") == left("v7", "v8") == ["c", "d"]
    assert len(without(images, taught_by(registry, ["v8"], workspace)).of_split("train")) == 1


def test_the_best_champion_is_that_of_the_same_test_images_since_the_last_approval(images):
    images = replace(images, table=images.table.assign(label="cat"))
    same, other = hash_of_test_set(images.of_split("test")), hash_of_test_set(images.table)

    def best(*versions: tuple[str, float, str, str, bool]) -> str | None:
        entries = [
            RegisteredVersion("imageloop", number, "r", verdict, "", "d", approved, accuracy=accuracy, test_set=test_set)
            for number, accuracy, verdict, test_set, approved in versions
        ]
        found = best_champion(SimpleNamespace(versions=lambda: entries), images)
        return found and found.version

    assert best() is None
    assert (
        best(("3", 0.8, "advance", same, False), ("2", 0.9, "advance", same, False), ("1", 0.85, "advance", same, False)) == "2"
    )
    assert (
        best(("3", 0.8, "advance", same, False), ("2", 0.9, "rollback", same, False), ("1", 0.99, "advance", other, False)) == "3"
    )
    assert best(("3", 0.8, "advance", same, True), ("2", 0.9, "advance", same, False)) == "3"
