"""Decoding and features are the same on any engine, bit for bit."""

import numpy as np
import pytest
from PIL import Image

from imageloop.data import ingestion
from imageloop.data.ingestion import decode_new, prepared_store, sha256_of
from imageloop.data.settings import Limits
from imageloop.execution_engine import ThisProcess, current_engine, work_on
from imageloop.training import features
from imageloop.training.features import Backbone, FeatureExtractor, exported_backbone
from tests.imageloop.conftest import LosesMachine

pytestmark = pytest.mark.xdist_group("ray")
SIDE = 64
NUM_IMAGES = 60


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict:
    """Images that differ, one text, and one file that is gone."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(3)
    for index in range(NUM_IMAGES):
        Image.fromarray(rng.integers(0, 255, (90, 120, 3), np.uint8)).save(folder / f"{index}.jpg")
    (folder / "text.jpg").write_text("no image")
    return {sha256_of(file): file for file in sorted(folder.iterdir())} | {"0" * 64: folder / "gone.jpg"}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(ingestion, "SHARD_SIZE", 8)
    monkeypatch.setattr(features, "SHARD_SIZE", 8)


def decoded(paths, folder):
    store = prepared_store(folder, SIDE)
    refused = decode_new(paths, store, SIDE, Limits())
    keys = [key for key in paths if key not in refused]
    return store, keys, {key: (error.reason, error.detail) for key, error in refused.items()}


def embedded(store, keys, file, folder):
    return FeatureExtractor([Backbone(file, folder)]).extract(keys, "flipped", store)


def test_the_engine_is_this_process_unless_a_step_says_otherwise():
    other = ThisProcess()

    with work_on(lambda: other):
        assert current_engine() is other
    assert isinstance(current_engine(), ThisProcess)
    assert current_engine() is not other


def test_a_cluster_makes_the_same_images_and_features_though_a_machine_dies(
    paths, tmp_path, small_shards, ray_cluster, ray_engine, exported_backbones
):
    backbone = exported_backbone("efficientnet_lite0", SIDE, exported_backbones)
    here = decoded(paths, tmp_path / "here")
    expected = embedded(*here[:2], backbone, tmp_path / "features here")
    joined = ray_cluster.join_and_wait()
    watched = LosesMachine(ray_engine, ray_cluster, joined, after=NUM_IMAGES // 8 + 3)  # in the middle of the features

    with work_on(lambda: watched):
        there = decoded(paths, tmp_path / "there")
        found = embedded(*there[:2], backbone, tmp_path / "features there")

    assert joined.poll() is not None
    assert there[1:] == here[1:]
    assert {reason for reason, _ in there[2].values()} == {"not_an_image", "unreadable"}
    assert np.array_equal(there[0].read(there[1]), here[0].read(here[1]))
    assert np.array_equal(found, expected)
    assert sorted(watched.ended) == sorted([*range(8), *range(8)])  # shards of images, shards of features: none twice
