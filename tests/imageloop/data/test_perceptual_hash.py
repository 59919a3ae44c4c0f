import io

import numpy as np
from PIL import Image

from imageloop.data.perceptual_hash import near_pairs, perceptual_hash
from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_image


def distance(left: int, right: int) -> int:
    return (left ^ right).bit_count()


def recompressed(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=40)
    return Image.open(content)


def test_copies_of_an_image_hash_alike_and_other_images_do_not():
    image, other = (draw_image("cat", (1, i), Drift()) for i in range(2))
    own = perceptual_hash(image)

    copies = [recompressed(image), image.resize((128, 128), Image.Resampling.BOX), image.point(lambda value: value * 0.7)]

    assert max(distance(own, perceptual_hash(copy)) for copy in copies) <= 4
    assert distance(own, perceptual_hash(other)) > 10


def test_the_banded_index_finds_every_close_pair_and_no_other():
    rng = np.random.default_rng(3)
    hashes = rng.integers(0, 2**63, 300, dtype=np.uint64)
    for index in range(100):  # plant neighbours at known distances
        bits = rng.choice(64, index % 7, replace=False)
        hashes[index + 100] = hashes[index] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64), initial=np.uint64(0))
    hashes = np.unique(hashes)
    apart = np.bitwise_count(hashes[:, None] ^ hashes[None, :])

    expected = {(i, j) for i, j in np.argwhere(apart <= 4).tolist() if i < j}

    assert {tuple(pair) for pair in near_pairs(hashes, 4).tolist()} == expected
    assert len(expected) > 40
