"""Changed copies of images: what their statistics become is what was expected, and nothing changes where nothing is expected."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_image
from imageloop.training.drift_augmentation import Change, fit_drift
from imageloop.training.settings import DriftAugmentation


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    drawn = [
        draw_image(label, (3, number), Drift()).convert("RGB").resize((112, 112))
        for label in ("cat", "dog")
        for number in range(8)
    ]
    return np.stack([np.asarray(image) for image in drawn])


def became(images, changed) -> dict[str, float]:
    times = image_statistics(changed).mean(0) / image_statistics(images).mean(0)
    return dict(zip(NAMES, times.tolist(), strict=True))


@pytest.mark.parametrize(
    "expected",
    [
        {"brightness": 0.5, "contrast": 0.5, "sharpness": 0.5},
        {"sharpness": 0.4},
        {"sharpness": 1.5},
        {"saturation": 0.3},
        {"brightness": 1.2},
    ],
)
def test_copies_have_the_expected_statistics(images, expected):
    found = became(images, fit_drift(images, DriftAugmentation(**expected)).apply(images))

    assert found == pytest.approx(DriftAugmentation(**expected).model_dump(), rel=0.12)


def test_the_blur_of_a_lens_is_found_again(images):
    blurred = np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2))) for image in images])
    found = became(images, blurred)

    change = fit_drift(images, DriftAugmentation(**{name: round(value, 3) for name, value in found.items()}))

    assert change.blur_pixels == pytest.approx(2, abs=0.3)
    assert np.abs(change.apply(images).astype(float) - blurred).mean() < 4


def test_where_nothing_changed_copies_are_nearly_the_images(images):
    assert np.abs(fit_drift(images, DriftAugmentation()).apply(images).astype(float) - images).mean() < 2


def test_the_same_images_give_the_same_copies(images):
    change = Change(grain=5, saturation=0.8, gain=0.9, offset=3)

    assert (change.apply(images) == change.apply(images)).all()
