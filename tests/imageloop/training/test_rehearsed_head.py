"""Rehearsed copies as training rows of the first head, on drawn images whose features are drawn too."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from imageloop.data.catalog import read_catalog
from imageloop.data.catalog_schema import content_hash
from imageloop.data.ingestion import prepared_store
from imageloop.data.prepared_images import prepare
from imageloop.data.settings import Limits, SplitSettings
from imageloop.data.splits import split_catalog
from imageloop.training import head_rows
from imageloop.training.batches import Drawn, rows_in_batches
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.rehearsal import NUM_COPIES
from imageloop.training.rehearsed_head import copies_that_train
from imageloop.training.settings import Transfer

SIZE, APART = 16, 4.0


class DrawnFeatures:
    """Features by the class of an image; those of copies point to the other class where they mislead."""

    num_features = SIZE

    def __init__(self, images, *, mislead: bool) -> None:
        self._class_of = dict(zip(images.table["sha256"], images.targets(images.table), strict=True))
        self._mislead = mislead

    def extract(self, keys, view, store, change=None):
        classes = np.array([self._class_of[key] for key in keys])
        rows = np.random.default_rng(len(view)).normal(0, 1, (len(keys), SIZE))
        towards = 1 - classes if self._mislead and view != "plain" else classes
        rows[np.arange(len(keys)), towards] += APART * (10 if self._mislead and view != "plain" else 1)
        return rows.astype(np.float32)


@pytest.fixture
def images(draw_folder, workspace):
    folder = draw_folder(cat=60, dog=60)
    store = prepared_store(workspace.prepared, 32)
    catalog = split_catalog(read_catalog(folder, "folder", store, 32, Limits()), None, SplitSettings(), 3)
    return prepare(catalog, workspace.prepared, 32, content_hash(catalog), folder)


def test_the_copies_of_training_images_train(images, workspace):
    store = images.open_store(workspace.prepared)

    copies_CD, copied_C = copies_that_train(images, DrawnFeatures(images, mislead=False), store, 0.3)

    assert (
        len(copies_CD) == len(copied_C) == NUM_COPIES * len(images.of_split("train"))
    )  # none of validation and test, none shuffled
    assert (np.bincount(copied_C) == NUM_COPIES * np.bincount(images.targets(images.of_split("train")))).all()


def test_copies_that_cost_accuracy_on_unchanged_images_are_left_out(images, workspace, caplog):
    store = images.open_store(workspace.prepared)

    copies_CD, copied_C = copies_that_train(images, DrawnFeatures(images, mislead=True), store, 1.0)

    assert copies_CD.shape == (0, SIZE)
    assert len(copied_C) == 0
    assert "rehearsed copies are left out" in caplog.text


def test_copies_are_not_made_while_modules_are_loaded_beside(images, workspace, monkeypatch):
    """Both load torchvision, and half a module may be what one of them gets."""
    beside = []

    @contextmanager
    def loading(*_: str):
        beside.append(True)
        yield
        beside.clear()

    def copies(*arguments):
        assert not beside
        return copies_that_train(*arguments)

    monkeypatch.setattr(head_rows, "loading", loading)
    monkeypatch.setattr(head_rows, "copies_that_train", copies)
    extractor, store = DrawnFeatures(images, mislead=False), images.open_store(workspace.prepared)

    found = head_rows.head_rows(images, extractor, store, Transfer(), FeedbackData.none(), 0.2)

    assert found.rehearsal_weight > 0


def test_an_epoch_has_all_rows_and_another_share_of_the_drawn_ones():
    rows = torch.arange(30, dtype=torch.float32)[:, None]
    batches = rows_in_batches(rows, torch.arange(30), 8, 3, Drawn(20, 0.25))

    first, second, again = ({int(value) for values, _ in batches(epoch) for value in values} for epoch in (0, 1, 0))

    assert first == again
    assert first != second
    assert set(range(10)) < first
    assert len(first) == len(second) == 15
