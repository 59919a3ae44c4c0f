"""Rehearsed changes: every copy is another image of the same shape, and the same image has the same copies."""

import hashlib

import numpy as np

from imageloop.training.rehearsal import NUM_COPIES, cells_of, changes, rehearse, shuffle

KEYS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(8)]


def drawn_images():
    rng = np.random.default_rng(0)
    smooth = rng.integers(40, 200, (8, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return smooth.astype(np.uint8)


def test_every_copy_changes_the_image_and_keeps_its_shape():
    images = drawn_images()

    for copy in range(NUM_COPIES):
        copies = rehearse(KEYS, images, copy)

        assert copies.shape == images.shape
        assert copies.dtype == np.uint8
        assert all((one != image).any() for one, image in zip(copies, images, strict=True))


def test_the_same_image_has_the_same_copies_whichever_images_are_beside_it():
    images = drawn_images()

    alone, among_others = rehearse(KEYS[3:4], images[3:4], 2), rehearse(KEYS, images, 2)

    assert (alone[0] == among_others[3]).all()


def test_the_copies_of_one_image_are_of_different_changes_and_all_changes_occur():
    total = len(changes())
    keys = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(100)]

    chosen = [cells_of(key, total) for key in keys]

    assert all(len(set(cells)) == NUM_COPIES for cells in chosen)
    assert {cell for cells in chosen for cell in cells} == set(range(total))


def test_a_shuffled_image_has_the_same_pixels_in_other_places():
    images = drawn_images()

    shuffled = shuffle(KEYS, images)

    assert (shuffled != images).any()
    assert (np.sort(shuffled, axis=None) == np.sort(images, axis=None)).all()
