"""Drawn images of cats and dogs, each from its own seed: pose, scale, colours, place, light and noise all vary.

The two differ as the real ones do, by several weak signs (ears, muzzle, whiskers, tail), each of which is missing or
misleading in some images; so a network must weigh them, and a small one trained from scratch errs.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from imageloop.data.settings import Drift

CLASSES = ("cat", "dog")
SIDE = 256
FURS = ((62, 52, 47), (150, 106, 66), (204, 158, 102), (226, 210, 186), (120, 118, 120), (40, 38, 42), (176, 88, 40))
CIRCLE = [(math.cos(angle), math.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False)]
Point = tuple[float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Anatomy:
    """The features that distinguish cats from dogs; drawn anew for each image, with overlapping ranges."""

    ears: str
    muzzle: float
    whiskers: bool
    tail_width: float
    eye_squeeze: float


def draw_image(label: str, seed: tuple[int, ...], drift: Drift) -> Image.Image:
    """Draw one image of the class `label`, (SIDE, SIDE) RGB; the same seed gives the same image."""
    rng = np.random.default_rng(seed)
    canvas = _background(rng)
    _Animal(rng, canvas, _anatomy(label, rng), outlined=drift.style == "outlined").draw()
    _distract(rng, ImageDraw.Draw(canvas), num_shapes=int(rng.integers(0, 3)))
    return _photograph(rng, canvas, drift)


def _anatomy(label: str, rng: np.random.Generator) -> Anatomy:
    if label == CLASSES[0]:
        return Anatomy(
            ears=str(rng.choice(["pointed", "folded"], p=[0.9, 0.1])),
            muzzle=rng.uniform(0.20, 0.40),
            whiskers=bool(rng.random() < 0.8),
            tail_width=rng.uniform(0.06, 0.13),
            eye_squeeze=rng.uniform(0.35, 0.9),
        )
    return Anatomy(
        ears=str(rng.choice(["hanging", "folded", "pointed"], p=[0.75, 0.10, 0.15])),
        muzzle=rng.uniform(0.32, 0.62),
        whiskers=bool(rng.random() < 0.10),
        tail_width=rng.uniform(0.09, 0.18),
        eye_squeeze=rng.uniform(0.7, 1.0),
    )


class _Animal:
    """A brush that draws in the animal's own coordinates: the head's radius is 1, its centre the origin."""

    def __init__(self, rng: np.random.Generator, canvas: Image.Image, anatomy: Anatomy, *, outlined: bool) -> None:
        self.rng, self.anatomy, self.outlined = rng, anatomy, outlined
        self.brush = ImageDraw.Draw(canvas)
        self.scale = SIDE * rng.uniform(0.12, 0.25)
        angle = rng.normal(0, 0.3)
        mirror = rng.choice([-1, 1])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        self.transform = (self.scale * turn * np.array([mirror, 1])).tolist()
        self.centre = (SIDE * rng.uniform([0.3, 0.25], [0.7, 0.55])).tolist()
        fur = np.array(FURS[rng.integers(len(FURS))]) + rng.normal(0, 12, 3)
        self.fur = _colour(fur)
        self.shade = _colour(fur * rng.uniform(0.6, 0.85))
        self.light = _colour(fur * 0.5 + 120)

    def draw(self) -> None:
        if self.rng.random() < 0.8:
            self._body()
        self._ears()
        self._ellipse((0, 0), 1.0, self.rng.uniform(0.82, 1.0), self.fur)
        self._coat()
        self._face()

    def _body(self) -> None:
        side = self.rng.choice([-1, 1])
        width, height = self.rng.uniform(0.9, 1.5), self.rng.uniform(1.2, 1.9)
        start, bend = np.array([side * width * 0.8, 2.2]), self.rng.uniform(0.6, 1.6)
        curve = [(start[0] + side * t * bend, start[1] - 1.6 * np.sin(t * 2.2)) for t in np.linspace(0, 1.2, 9)]
        self._line(curve, self.anatomy.tail_width * 2, self.shade)
        self._ellipse((0, 1.7), width, height, self.fur)
        for x in (-0.45, 0.45):
            self._ellipse((x, 1.5 + height), 0.28, 0.5, self.shade)

    def _ears(self) -> None:
        tilt = self.rng.normal(0, 0.12)
        for side in (-1, 1):
            if self.anatomy.ears == "hanging":
                self._ellipse((side * 0.95, 0.15 + tilt), 0.32, self.rng.uniform(0.6, 0.95), self.shade)
                continue
            height = 1.5 if self.anatomy.ears == "pointed" else 1.05
            tip = (side * (0.75 + tilt), -height * self.rng.uniform(0.9, 1.1))
            self._polygon([(side * 0.95, -0.3), tip, (side * 0.2, -0.9)], self.shade)
            if self.anatomy.ears == "pointed":
                self._polygon([(side * 0.8, -0.5), (tip[0], tip[1] * 0.85), (side * 0.4, -0.85)], self.light)

    def _coat(self) -> None:
        kind = self.rng.choice(["plain", "stripes", "patch"], p=[0.4, 0.35, 0.25])
        if kind == "stripes":
            for x in np.linspace(-0.6, 0.6, 5):
                self._line([(x, -0.85 + abs(x) * 0.4), (x * 0.8, -0.4)], 0.09, self.shade)
        if kind == "patch":
            self._ellipse(tuple(self.rng.uniform(-0.5, 0.5, 2)), 0.4, 0.45, self.light)

    def _face(self) -> None:
        eye_colour = _colour(self.rng.uniform([40, 60, 20], [200, 190, 140]))
        for side in (-1, 1):
            self._ellipse((side * 0.4, -0.15), 0.2, 0.2 * self.anatomy.eye_squeeze, eye_colour)
            self._ellipse((side * 0.4, -0.15), 0.2 * (1.1 - self.anatomy.eye_squeeze * 0.6), 0.16, (15, 15, 15))
        muzzle = self.anatomy.muzzle
        self._ellipse((0, 0.45), muzzle, muzzle * 0.75, self.light)
        self._ellipse((0, 0.45 - muzzle * 0.4), muzzle * 0.45, muzzle * 0.3, (35, 25, 30))
        if self.anatomy.whiskers:
            for side in (-1, 1):
                for rise in (-0.2, 0.0, 0.2):
                    self._line([(side * 0.25, 0.5), (side * 1.15, 0.45 + rise)], 0.03, (235, 235, 230))

    def _place(self, points: list[Point]) -> list[Point]:
        (across, down), ((xx, xy), (yx, yy)) = self.centre, self.transform
        return [(across + (xx * x + xy * y), down + (yx * x + yy * y)) for x, y in points]

    def _ellipse(self, centre: Point, width: float, height: float, colour: Colour) -> None:
        self._polygon([(centre[0] + width * x, centre[1] + height * y) for x, y in CIRCLE], colour)

    def _polygon(self, points: list[Point], colour: Colour) -> None:
        placed = self._place(points)
        if self.outlined:
            self.brush.line([*placed, placed[0]], fill=colour, width=max(1, int(self.scale * 0.06)))
        else:
            self.brush.polygon(placed, fill=colour)

    def _line(self, points: list[Point], width: float, colour: Colour) -> None:
        self.brush.line(self._place(points), fill=colour, width=max(1, int(width * self.scale)), joint="curve")


def _background(rng: np.random.Generator) -> Image.Image:
    corners = rng.uniform(20, 235, (2, 2, 3)).astype(np.uint8)
    canvas = Image.fromarray(corners).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    _distract(rng, ImageDraw.Draw(canvas), num_shapes=int(rng.integers(2, 9)))
    return canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0, 4)))


def _distract(rng: np.random.Generator, brush: ImageDraw.ImageDraw, num_shapes: int) -> None:
    """Distractors behind the animal or partly before it."""
    for _ in range(num_shapes):
        x, y = rng.uniform(-0.1, 1.1, 2) * SIDE
        width, height = rng.uniform(0.04, 0.3, 2) * SIDE
        colour = _colour(rng.uniform(20, 235, 3))
        match rng.integers(3):
            case 0:
                brush.ellipse((x, y, x + width, y + height), fill=colour)
            case 1:
                brush.rectangle((x, y, x + width, y + height), fill=colour)
            case _:
                brush.polygon([(x, y), (x + width, y + height / 2), (x + width / 3, y + height)], fill=colour)


def _photograph(rng: np.random.Generator, canvas: Image.Image, drift: Drift) -> Image.Image:
    """Light falls from one side, the lens blurs, the sensor adds noise."""
    blurred = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.3) + drift.blur_pixels))
    slope = rng.uniform(-0.35, 0.35, 2)
    ramp = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light = 1 + slope[0] * ramp[:, None] + slope[1] * ramp[None, :]
    light *= rng.uniform(0.6, 1.25) * (1 - 0.85 * drift.darkness)
    noise = rng.standard_normal((SIDE, SIDE), dtype=np.float32) * rng.uniform(2, 14)
    tints = rng.uniform(0.9, 1.1, 3).astype(np.float32)
    bands = []  # one by one: numpy is slow along an axis of three
    for band, tint in zip(blurred.split(), tints, strict=True):
        lit = np.asarray(band) * light
        lit *= tint
        lit += noise
        bands.append(Image.fromarray(lit.clip(0, 255, out=lit).astype(np.uint8)))
    return Image.merge("RGB", bands)


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (int(value) for value in values.clip(0, 255))
    return red, green, blue
