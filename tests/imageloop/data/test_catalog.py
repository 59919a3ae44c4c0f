import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imageloop.data.array_store import ArrayStore
from imageloop.data.catalog import read_catalog
from imageloop.data.catalog_schema import CatalogError, accepted, check_catalog, classes_of, content_hash
from imageloop.data.data_checks import check_quarantined
from imageloop.data.data_report import list_quarantined
from imageloop.data.ingestion import prepared_store
from imageloop.data.settings import Limits, SplitSettings
from imageloop.data.splits import split_catalog
from imageloop.errors import ImageLoopError

SIDE = 32


@pytest.fixture
def store(tmp_path) -> ArrayStore:
    return prepared_store(tmp_path / "store", SIDE)


def catalog_of(folder, store, known=None, seed=7):
    files = read_catalog(folder, "folder", store, SIDE, Limits())
    return split_catalog(files, known, SplitSettings(seed=seed), 4)


def test_each_class_is_split_80_10_10(draw_folder, store):
    catalog = catalog_of(draw_folder(ant=40, bee=20, wasp=10), store)

    counts = catalog.groupby(["label", "split"]).size().to_dict()

    assert counts[("ant", "train")] == 32
    assert counts[("bee", "test")] == counts[("bee", "validation")] == 2
    assert counts[("wasp", "train")] == 8
    assert classes_of(catalog) == ["ant", "bee", "wasp"]


def test_the_same_images_give_the_same_version_wherever_they_lie(draw_folder, store, tmp_path):
    first = catalog_of(draw_folder(cat=12, dog=12), store)
    shutil.copytree(tmp_path / "images", tmp_path / "elsewhere")

    second = catalog_of(tmp_path / "elsewhere", store)

    assert content_hash(first) == content_hash(second)
    assert content_hash(first) != content_hash(catalog_of(tmp_path / "images", store, seed=8))


def test_a_growing_data_set_moves_no_image(draw_folder, store):
    first = catalog_of(draw_folder(cat=20, dog=20), store)

    grown = catalog_of(draw_folder(cat=60, dog=33, seed=0), store, known=first)

    both = first.merge(grown, on="sha256")
    assert len(both) >= 20
    assert (both["split_x"] == both["split_y"]).all()
    assert (both["added_at_x"] == both["added_at_y"]).all()


def test_duplicates_stand_in_one_split_and_newcomers_join_their_group(draw_folder, store):
    folder = draw_folder(cat=20, dog=20)
    first = catalog_of(folder, store)
    original = first[(first["split"] == "test") & (first["label"] == "cat")].iloc[0]
    image = Image.open(folder / original["path"])
    image.save(folder / "cat" / "same again.jpg", quality=60)
    shutil.copy(folder / original["path"], folder / "cat" / "copy.png")

    second = catalog_of(folder, store, known=first)

    group = second[second["group"] == original["group"]]
    assert set(group["path"]) == {original["path"], "cat/same again.jpg", "cat/copy.png"}
    assert set(group["split"]) == {"test"}


def test_an_image_that_ties_two_splits_together_is_quarantined(draw_folder, store):
    """Two groups that were apart when first seen; a newcomer lies within reach of both."""
    catalog = catalog_of(draw_folder(cat=20, dog=20), store)
    train, test = (catalog[(catalog["split"] == split) & (catalog["label"] == "cat")].index[0] for split in ("train", "test"))
    new = catalog[(catalog["split"] == "train") & (catalog["label"] == "cat")].index[1]
    catalog.loc[[train, new, test], "perceptual_hash"] = ["f" * 15 + "0", "f" * 15 + "7", "f" * 16]
    before = catalog.drop(index=new)

    files = catalog.assign(split="", group=catalog["sha256"].str[:16])
    after = split_catalog(files, before, SplitSettings(), 3)

    assert after.loc[new, "status"] == "quarantined"
    assert after.loc[new, "reason"].startswith("ties_splits")
    assert after.loc[train, "split"] == "train"
    assert after.loc[test, "split"] == "test"


def test_an_image_in_two_classes_is_quarantined_under_both_names(draw_folder, store):
    folder = draw_folder(cat=12, dog=12)
    shutil.copy(folder / "cat" / "3.png", folder / "dog" / "no dog.png")

    catalog = catalog_of(folder, store)

    aside = catalog[catalog["status"] == "quarantined"]
    assert set(aside["path"]) == {"cat/3.png", "dog/no dog.png"}
    assert aside["reason"].str.startswith("two_classes").all()


def test_near_duplicates_in_two_classes_are_no_contradiction(tmp_path, store):
    """Parts that differ in a scratch: their perceptual hashes are near each other, within a class and across."""
    part = np.random.default_rng(0).integers(0, 255, (8, 8)).astype(np.uint8)
    large = np.asarray(Image.fromarray(part).resize((64, 64), Image.Resampling.BICUBIC))
    for label in ("good", "scratched"):
        (tmp_path / "parts" / label).mkdir(parents=True)
        for index in range(12):
            image = large.astype(int) + np.random.default_rng([index, label == "good"]).normal(0, 2, large.shape)
            if label == "scratched":
                image[20:22, 5:50] = 250
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / "parts" / label / f"{index}.png")

    files = read_catalog(tmp_path / "parts", "folder", store, SIDE, Limits())

    assert (files["status"] == "accepted").all()


def test_the_same_pixels_in_another_file_are_a_contradiction(draw_folder, store):
    folder = draw_folder(cat=12, dog=12)
    Image.open(folder / "cat" / "3.png").save(folder / "dog" / "no dog.bmp")

    catalog = catalog_of(folder, store)

    assert set(catalog[catalog["reason"].str.startswith("two_classes")]["path"]) == {"cat/3.png", "dog/no dog.bmp"}


def test_a_class_without_a_usable_image_is_an_error_with_its_reasons(draw_folder, store):
    folder = draw_folder(cat=12, dog=12)
    (folder / "lion").mkdir()
    for index in range(3):
        (folder / "lion" / f"{index}.jpg").write_text(f"no image {index}")

    with pytest.raises(
        ImageLoopError, match=r"none of 1: 'lion' \(quarantined: 3 not_an_image; 'lion/0.jpg' is not_an_image: plain text"
    ):
        catalog_of(folder, store)


def test_a_data_set_of_which_much_is_unusable_stops_unless_that_is_said(draw_folder, store):
    folder = draw_folder(cat=12, dog=12)
    for index in range(6):
        (folder / "cat" / f"text {index}.jpg").write_text(f"no image {index}")
    (folder / "test").mkdir()
    files = read_catalog(folder, "folder", store, SIDE, Limits())

    with pytest.raises(ImageLoopError, match=r"got 20% of 30 .*6 not_an_image.*--set data.max_quarantined=0.2"):
        check_quarantined(files, 0.1)
    check_quarantined(files, 0.2)


def test_every_quarantined_file_is_listed_with_its_reason(draw_folder, store, tmp_path, caplog):
    folder, listed = draw_folder(cat=12, dog=12), tmp_path / "quarantined.csv"
    for index in range(9):
        (folder / "cat" / f"text {index}.jpg").write_text(f"no image {index}")

    list_quarantined(read_catalog(folder, "folder", store, SIDE, Limits()), listed)

    rows = pd.read_csv(listed)
    assert sorted(rows["path"]) == [f"cat/text {index}.jpg" for index in range(9)]
    assert rows["reason"].str.startswith("not_an_image").all()
    assert f"9 of 33 files are not used; each with its reason: '{listed}'" in caplog.text

    for file in folder.glob("cat/text*"):
        file.unlink()
    list_quarantined(read_catalog(folder, "folder", store, SIDE, Limits()), listed)
    assert not listed.exists()


def test_unlabelled_images_of_a_competition_do_not_count_as_unusable(draw_folder, store):
    folder = draw_folder(cat=12, dog=12)
    (folder.parent / "set").mkdir()
    folder.rename(folder.parent / "set" / "train")
    (folder.parent / "set" / "test").mkdir()
    for index in range(30):
        Image.effect_noise((64, 64), 40 + index).save(folder.parent / "set" / "test" / f"{index}.png")

    check_quarantined(read_catalog(folder.parent / "set", "folder", store, SIDE, Limits()), 0.1)


def test_strange_names_and_files_are_listed_and_none_is_lost(draw_folder, store):
    folder = draw_folder(cat=10, dog=10)
    for number, name in enumerate(("with space.png", "new\nline.png", "emoji 🐱.png")):
        Image.effect_noise((64, 64), 40 + number).save(folder / "cat" / name)
    (folder / "dog" / "text.jpg").write_text("no image")
    (folder / "stray.png").write_bytes((folder / "cat" / "0.png").read_bytes())
    (folder / "dog" / "loop").symlink_to(folder)

    catalog = catalog_of(folder, store)

    reasons = catalog.set_index("path")["reason"]
    assert {"cat/with space.png", "cat/new\nline.png", "cat/emoji 🐱.png"} <= set(accepted(catalog)["path"])
    assert reasons["dog/text.jpg"].startswith("not_an_image")
    assert reasons["stray.png"].startswith("no_label")
    assert len(catalog) == 25


def test_a_name_that_is_not_utf8_is_quarantined(draw_folder, store):
    folder = draw_folder(cat=10, dog=10)
    with open(bytes(folder / "cat") + b"/\xff.png", "wb") as file:  # noqa: PTH123
        file.write((folder / "cat" / "0.png").read_bytes())

    catalog = catalog_of(folder, store)

    assert catalog["reason"].str.startswith("name_not_utf8").sum() == 1


def test_known_images_are_not_decoded_again(draw_folder, store, caplog):
    folder = draw_folder(cat=12, dog=12)
    catalog_of(folder, store)
    draw_folder(bee=2, seed=5)
    caplog.set_level("INFO")

    read_catalog(folder, "folder", store, SIDE, Limits())

    assert "decoded 2 images, 24 were known" in caplog.text


def test_todays_limits_hold_for_images_that_are_known_already(draw_folder, store):
    folder = draw_folder(cat=10, dog=10)
    read_catalog(folder, "folder", store, SIDE, Limits())

    strict = [Limits(min_side_pixels=100), Limits(max_pixels=100), Limits(max_bytes=5)]

    for limits in strict:
        assert accepted(read_catalog(folder, "folder", store, SIDE, limits)).empty


@pytest.mark.parametrize(
    ("counts", "words"),
    [({"cat": 12}, "two classes"), ({"cat": 12, "dog": 1}, "'dog' has 1"), ({}, "got no file")],
)
def test_too_few_images_are_refused_with_their_counts(draw_folder, store, tmp_path, counts, words):
    (tmp_path / "images").mkdir()
    folder = draw_folder(**counts)

    with pytest.raises(ImageLoopError, match=words):
        catalog_of(folder, store)


def test_ten_thousand_files_without_an_image_are_one_error(tmp_path, store):
    for label in ("cat", "dog"):
        (tmp_path / "junk" / label).mkdir(parents=True)
        for index in range(5000):
            (tmp_path / "junk" / label / f"{index}.jpg").write_bytes(b"junk %d" % index)

    with pytest.raises(ImageLoopError, match="10000 not_an_image"):
        catalog_of(tmp_path / "junk", store)


def test_a_catalog_that_breaks_its_contract_is_refused_by_name(draw_folder, store):
    catalog = catalog_of(draw_folder(cat=12, dog=12), store)

    with pytest.raises(CatalogError, match="split"):
        check_catalog(catalog.assign(split="tomorrow"))
    with pytest.raises(CatalogError, match="a reason where quarantined"):
        check_catalog(catalog.assign(reason="why"))


def test_no_photograph_nor_its_near_duplicate_stands_in_two_splits(photographs, store):
    catalog = accepted(catalog_of(photographs / "antsbees", store))

    assert catalog.groupby("group")["split"].nunique().max() == 1
    assert catalog.groupby("sha256")["split"].nunique().max() == 1
