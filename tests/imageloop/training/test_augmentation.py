import math

import pytest
import torch
from torchvision.transforms.v2 import functional

from imageloop.training.augmentation import EachColorJitter, EachResizedCrop, augment, augmentation

UNCHANGED = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}


@pytest.fixture
def images():
    """Of middling colours, so that nothing is cut off at black or white."""
    coarse = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 80 + 80
    return torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear")


def jitter(**changed):
    params = {name: torch.tensor([value, UNCHANGED[name]]) for name, value in (UNCHANGED | changed).items()}
    return lambda images: EachColorJitter(0.3, 0.3, 0.3, 0.03, 1.0).transform(images, params)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_each_change_of_colour_is_torchvisions_for_the_image_that_it_is_meant_for(images, name, factor):
    expected = getattr(functional, f"adjust_{name}")(images[0] / 255, factor) * 255

    found = jitter(**{name: factor})(images)

    assert (found[0] - expected).abs().max() < 0.1
    assert (found[1] - images[1]).abs().max() < 0.1


def test_a_turned_hue_leaves_the_light_and_turns_as_torchvisions(images):
    red = torch.tensor([160.0, 100.0, 100.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    turn = jitter(hue=2 * math.pi * 0.03)

    found, expected = turn(red)[0, :, 0, 0], functional.adjust_hue(red[0] / 255, 0.03)[:, 0, 0] * 255
    change = (turn(images)[0] - images[0]).permute(1, 2, 0)

    assert expected[1] > expected[2]  # towards orange
    assert found[1] > found[2]
    assert (change @ torch.tensor([0.299, 0.587, 0.114])).abs().max() < 0.1


def test_a_crop_is_torchvisions_and_may_be_mirrored(images):
    params = {"width": [0.5, 1], "height": [0.75, 1], "left": [0.25, 0], "top": [0.125, 0], "mirror": [True, False]}
    expected = functional.horizontal_flip(functional.resized_crop(images[0], 8, 16, 48, 32, [64, 64], antialias=False))

    found = EachResizedCrop((0.5, 1), (0.8, 1.25), 0.5).transform(
        images, {name: torch.tensor(value) for name, value in params.items()}
    )

    assert (found[0] - expected)[
        :, 2:-2, 2:-2
    ].abs().max() < 0.1  # at its edge torchvision repeats a pixel, where we see the next
    assert (found[1] - images[1]).abs().max() < 0.1


def test_each_image_of_a_batch_is_changed_by_itself_and_the_same_seed_draws_the_same(images):
    same = images[:1].round().to(torch.uint8).permute(0, 2, 3, 1).repeat(4, 1, 1, 1)

    drawn = []
    for _ in range(2):
        torch.manual_seed(0)
        drawn.append(augment(same, torch.zeros(4), augmentation(), None)[0])
    first, second = drawn

    assert first.shape == same.shape
    assert first.dtype == torch.uint8
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, second)


def test_a_random_crop_has_the_configured_size_and_aspect():
    torch.manual_seed(0)

    params = EachResizedCrop((0.5, 1.0), (0.8, 1.25), 0.5).make_params([torch.empty(10_000, 3, 1, 1)])

    area, ratio = params["width"] * params["height"], params["width"] / params["height"]
    assert 0.49 < area.min() < 0.55
    assert area.max() > 0.95
    assert ratio.min() >= 0.79
    assert ratio.max() <= 1.26
    assert all((params[edge] + params[size]).max() <= 1.001 for edge, size in (("left", "width"), ("top", "height")))
    assert 0.45 < params["mirror"].float().mean() < 0.55
