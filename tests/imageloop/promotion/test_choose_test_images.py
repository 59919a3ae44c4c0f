"""The labelled test images of a package."""

import numpy as np
import pandas as pd

from imageloop.data.preprocessing import preprocess
from imageloop.model.predictor import SERVED
from imageloop.model.test_images import read_test_images, write_test_images
from imageloop.promotion.choose_test_images import choose_test_images

PIXELS = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3)).astype(np.uint8)


class Images:
    """Five prepared images, whose keys are letters."""

    def open_store(self, _folder):
        return self

    def read(self, keys):
        return PIXELS[["abcde".index(key) for key in keys]]


def predictions(order: str) -> pd.DataFrame:
    return pd.DataFrame({"sha256": list(order), "label": ["cat"] * 5, "right": [key != "b" for key in order]})


def test_a_package_keeps_the_same_test_images_whatever_their_order(workspace, tmp_path):
    chosen = choose_test_images(predictions("edcba"), Images(), workspace, max_images=3)

    write_test_images(tmp_path, chosen)

    assert chosen == choose_test_images(predictions("acebd"), Images(), workspace, max_images=3)
    assert read_test_images(tmp_path) == chosen
    assert [(image.sha256, image.label, image.right) for image in chosen] == [
        ("a", "cat", True),
        ("b", "cat", False),
        ("c", "cat", True),
    ]
    assert preprocess(chosen[0].content, 16, SERVED).shape == (16, 16, 3)


def test_a_package_of_an_earlier_release_has_no_test_images(tmp_path):
    assert read_test_images(tmp_path) == []


def test_a_package_may_go_without_test_images(workspace, tmp_path):
    write_test_images(tmp_path, choose_test_images(predictions("abcde"), Images(), workspace, max_images=0))

    assert read_test_images(tmp_path) == []
