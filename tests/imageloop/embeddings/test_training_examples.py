import io

import numpy as np
import pytest
from PIL import Image

from imageloop.embeddings.training_examples import EXAMPLES_FILE, TrainingExamples, thumbnail
from seldon.service.similar_images import NUM_SIMILAR, similar_images


@pytest.fixture
def examples() -> TrainingExamples:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(12, 8)).astype(np.float32)
    pixels = [np.full((32, 32, 3), 20 * index, np.uint8) for index in range(12)]
    return TrainingExamples(embeddings, [f"class {index % 3}" for index in range(12)], [thumbnail(one) for one in pixels])


def test_the_nearest_images_come_first_also_after_a_package_was_read(examples, tmp_path):
    embedding = np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)[5]
    examples.write(tmp_path)

    first, second = examples.nearest(embedding, 4), TrainingExamples.read(tmp_path).nearest(embedding, 4)

    assert [one.label for one in first] == [one.label for one in second]
    assert [one.thumbnail for one in first] == [one.thumbnail for one in second]
    assert first[0].label == "class 2"
    assert first[0].distance == pytest.approx(0, abs=1e-5)
    assert [one.distance for one in first] == sorted(one.distance for one in first)
    shown = np.asarray(Image.open(io.BytesIO(first[0].thumbnail)))
    assert shown.shape == (72, 72, 3)
    assert abs(int(shown.mean()) - 100) < 3
    assert [one.name for one in tmp_path.iterdir()] == [EXAMPLES_FILE]


def test_a_package_without_them_shows_none(tmp_path):
    assert TrainingExamples.read(tmp_path) is None
    assert similar_images(None, np.ones(8, np.float32)) == {}


def test_a_response_holds_a_few(examples):
    found = similar_images(examples, np.ones(8, np.float32))["similar"]

    assert len(found) == NUM_SIMILAR
    assert found[0]["thumbnail"].startswith("data:image/jpeg;base64,")
