"""Images that the service kept: they teach and tune, and judge nothing."""

import shutil

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from imageloop.data.catalog import read_catalog
from imageloop.data.catalog_schema import accepted
from imageloop.data.ingestion import prepared_store
from imageloop.data.raw_folder import place
from imageloop.data.settings import DataSettings, Limits, SplitSettings
from imageloop.data.sources import source_kinds
from imageloop.data.sources.class_folders import RETAINED_FOLDER
from imageloop.data.splits import split_catalog
from imageloop.errors import ImageLoopError, SettingsError


@pytest.fixture
def kept(draw_folder):
    return draw_folder(name="retained_images", seed=9, cat=20, dog=20)


def catalog_of(raw, tmp_path, known=None):
    files = read_catalog(raw, "folder", prepared_store(tmp_path / "store", 32), 32, Limits())
    return split_catalog(files, known, SplitSettings(), 4)


def test_they_join_the_catalog_and_never_the_test_split(draw_folder, kept, workspace, tmp_path):
    raw = place(draw_folder(cat=20, dog=20), workspace, retained=kept)

    catalog = catalog_of(raw, tmp_path)

    mine = catalog[catalog["source"] == RETAINED_FOLDER]
    assert mine.groupby("label").size().to_dict() == {"cat": 20, "dog": 20}
    assert set(mine["split"]) == {"train", "validation"}
    judging = catalog[catalog["split"] == "test"]
    assert len(judging) >= 4
    assert set(judging["source"]) == {"folder"}


def test_one_that_shows_a_test_image_is_quarantined(draw_folder, kept, workspace, tmp_path):
    folder = draw_folder(cat=20, dog=20)
    first = accepted(catalog_of(place(folder, workspace), tmp_path))
    tested = first.loc[first["split"] == "test", "path"].iloc[0]
    shutil.rmtree(kept)
    (kept / tested).parent.mkdir(parents=True)
    image = np.asarray(Image.open(folder / tested)).astype(int)
    Image.fromarray((image + 1).clip(0, 255).astype(np.uint8)).save(kept / tested)

    catalog = catalog_of(place(folder, workspace, retained=kept), tmp_path, first)

    (row,) = catalog[catalog["source"] == RETAINED_FOLDER].itertuples()
    assert (row.status, row.reason.split(":")[0]) == ("quarantined", "kept_in_test")
    assert set(catalog.loc[catalog["split"] == "test", "path"]) >= {tested}


def test_without_them_they_are_gone_again(draw_folder, kept, workspace):
    folder = draw_folder(cat=2, dog=2)
    raw = place(folder, workspace, retained=kept)
    assert len(list(raw.rglob("*.png"))) == 44

    assert len(list(place(folder, workspace).rglob("*.png"))) == 4


def test_wrong_settings_are_refused(draw_folder, kept, workspace, tmp_path):
    folder = draw_folder(cat=2, dog=2)
    source = {"kind": "folder", "path": folder}
    with pytest.raises(ValidationError, match=r"versioning\.enabled=false leaves alone"):
        DataSettings.model_validate({"source": source, "retained_images": kept, "versioning": {"enabled": False}})
    with pytest.raises(SettingsError, match=r"data\.retained_images: expected a folder"):
        source_kinds.check(DataSettings.model_validate({"source": source, "retained_images": tmp_path / "nowhere"}))
    mine = workspace.data / "mine"
    mine.mkdir(parents=True)
    with pytest.raises(ImageLoopError, match="to add retained images to"):
        place(mine, workspace, retained=kept)


def test_another_image_is_another_fingerprint(draw_folder, kept):
    settings = DataSettings.model_validate(
        {"source": {"kind": "folder", "path": draw_folder(cat=2, dog=2)}, "retained_images": kept}
    )
    before = source_kinds.fingerprint(settings)
    (kept / "cat" / "0.png").unlink()

    assert source_kinds.fingerprint(settings) not in (
        before,
        source_kinds.fingerprint(settings.model_copy(update={"retained_images": None})),
    )
