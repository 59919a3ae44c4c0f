"""Changed copies of pictures: what their statistics become is what was wanted, and nothing changes where nothing is wanted."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_picture
from imageloop.training.drift_augmentation import Change, fit_change
from imageloop.training.settings import Imitation


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    drawn = [
        draw_picture(label, (3, number), Drift()).convert("RGB").resize((112, 112))
        for label in ("cat", "dog")
        for number in range(8)
    ]
    return np.stack([np.asarray(image) for image in drawn])


def became(pictures, changed) -> dict[str, float]:
    times = image_statistics(changed).mean(0) / image_statistics(pictures).mean(0)
    return dict(zip(NAMES, times.tolist(), strict=True))


@pytest.mark.parametrize(
    "wanted",
    [
        {"brightness": 0.5, "contrast": 0.5, "sharpness": 0.5},
        {"sharpness": 0.4},
        {"sharpness": 1.5},
        {"saturation": 0.3},
        {"brightness": 1.2},
    ],
)
def test_copies_have_the_statistics_that_were_wanted(pictures, wanted):
    found = became(pictures, fit_change(pictures, Imitation(**wanted)).apply(pictures))

    assert found == pytest.approx(Imitation(**wanted).model_dump(), rel=0.12)


def test_the_blur_of_a_lens_is_found_again(pictures):
    blurred = np.stack([np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2))) for picture in pictures])
    found = became(pictures, blurred)

    change = fit_change(pictures, Imitation(**{name: round(value, 3) for name, value in found.items()}))

    assert change.blur_pixels == pytest.approx(2, abs=0.3)
    assert np.abs(change.apply(pictures).astype(float) - blurred).mean() < 4


def test_where_nothing_changed_copies_are_nearly_the_pictures(pictures):
    assert np.abs(fit_change(pictures, Imitation()).apply(pictures).astype(float) - pictures).mean() < 2


def test_the_same_pictures_give_the_same_copies(pictures):
    change = Change(grain=5, saturation=0.8, gain=0.9, offset=3)

    assert (change.apply(pictures) == change.apply(pictures)).all()
