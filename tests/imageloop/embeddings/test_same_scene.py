"""Frames of one scene are distinguished from different images, by the distances between training images."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from imageloop.embeddings.novelty import Novelty
from imageloop.embeddings.same_scene import scene_distance, scenes_of


def distance_of(known: np.ndarray) -> float:
    return scene_distance(known, np.arange(len(known)) % 2)


def scene_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32)


def test_frames_belong_to_the_first_of_their_scene_whatever_comes_later():
    rng = np.random.default_rng(1)
    frames = np.repeat(scene_images(20), 30, 0)[rng.permutation(600)]
    seen = frames + 0.05 * rng.normal(size=frames.shape).astype(np.float32)
    distance = distance_of(scene_images(300, seed=2))

    found = scenes_of(seen, distance)

    assert len(np.unique(found)) == 20
    assert (frames[found] == frames).all()
    assert (found <= np.arange(600)).all()
    assert scenes_of(seen[:150], distance).tolist() == found[:150].tolist()


def test_different_images_are_a_scene_each_and_without_a_distance_all_are():
    assert scenes_of(scene_images(500, seed=3), distance_of(scene_images(300))).tolist() == list(range(500))
    frames = np.concatenate([scene_images(2), scene_images(2) + 0.01])
    assert scenes_of(frames, distance_of(scene_images(300))).tolist() == [0, 1, 0, 1]
    assert scenes_of(frames, 0.0).tolist() == [0, 1, 2, 3]
    assert scenes_of(np.empty((0, 0), np.float32), 0.5).tolist() == []


def test_a_scene_may_pan_and_light_may_change():
    rng = np.random.default_rng(4)
    ends = scene_images(40, seed=5)
    films = [(1 - share) * ends[2 * film] + share * ends[2 * film + 1] for film in range(20) for share in np.linspace(0, 1, 30)]
    seen = (np.stack(films) + 0.02 * rng.normal(size=(600, 64))).astype(np.float32)

    assert scenes_of(seen, distance_of(scene_images(300))).tolist() == np.repeat(np.arange(20) * 30, 30).tolist()


def test_a_data_set_of_frames_separates_scenes_too():
    rng = np.random.default_rng(6)
    frames = np.repeat(scene_images(40, seed=7), 10, 0)

    filmed = distance_of(frames + 0.05 * rng.normal(size=frames.shape).astype(np.float32))

    assert filmed == pytest.approx(distance_of(scene_images(400)), rel=0.05)
    assert distance_of(scene_images(1)) == distance_of(np.empty((0, 64), np.float32)) == 0.0


def test_a_row_that_is_no_number_is_a_scene_of_its_own_and_spoils_no_other():
    rows = np.concatenate([scene_images(2), np.full((1, 64), np.nan, np.float32), scene_images(2)])

    assert scenes_of(rows, 0.2).tolist() == [0, 1, 2, 0, 1]


def test_a_package_stores_the_scene_distance_of_its_images(tmp_path):
    known = scene_images(300)
    frames = scene_images(1)[[0] * 400]
    Novelty.of(np.concatenate([known, frames]), 2, np.arange(300) % 2).write(tmp_path)

    assert Novelty.read(tmp_path).scene == pytest.approx(distance_of(known), rel=1e-3)


def test_frames_of_a_photograph_are_separated_from_other_photographs(photographs, exported_backbones):
    from imageloop.training.features import Backbone, FeatureExtractor, exported_backbone

    extractor = FeatureExtractor([Backbone(exported_backbone("efficientnet_lite0", 224, exported_backbones), exported_backbones)])
    rng = np.random.default_rng(0)
    files = sorted((photographs / "catsdogs").rglob("*.jpg"))[::33]
    images = [Image.open(file).convert("RGB") for file in files]

    def frame(image: Image.Image) -> np.ndarray:
        """A few pixels further, a little lighter or darker, through JPEG again."""
        left, top = rng.integers(0, max(2, min(image.size) // 30), 2).tolist()
        moved = ImageEnhance.Brightness(image.crop((left, top, *image.size))).enhance(1 + 0.05 * rng.normal())
        moved.save(file := io.BytesIO(), "JPEG", quality=80)
        return np.asarray(Image.open(file).convert("RGB").resize((224, 224)))

    known = extractor.run(np.stack([np.asarray(image.resize((224, 224))) for image in images]))
    seen = extractor.run(np.stack([frame(image) for image in images for _ in range(3)]))

    found = scenes_of(seen, distance_of(known)) // 3

    assert (found == np.arange(len(files)).repeat(3)).mean() > 0.95
    assert scenes_of(known, distance_of(known)).tolist() == list(range(len(files)))
