import pandas as pd
import pytest
from PIL import Image

from imageloop.data.catalog import read_catalog
from imageloop.data.ingestion import prepared_store
from imageloop.data.settings import Limits, SplitSettings
from imageloop.data.split_history import images_split_before, keep_catalog, previous_catalog, remember_splits
from imageloop.data.splits import split_catalog
from imageloop.errors import ImageLoopError


def run(folder, workspace, seed=7):
    """What the steps split and version do."""
    files = read_catalog(folder, "folder", prepared_store(workspace.prepared, 32), 32, Limits())
    catalog = split_catalog(files, images_split_before(workspace, seed), SplitSettings(seed=seed), 4)
    keep_catalog(catalog, workspace)
    return catalog


@pytest.mark.parametrize("name", ["catalog.parquet", "known.parquet"])
def test_a_missing_split_history_is_fine_and_a_damaged_one_is_an_error(workspace, name):
    assert previous_catalog(workspace) is None
    assert images_split_before(workspace, 7).empty

    workspace.data.mkdir()
    (workspace.data / name).write_text("broken")

    with pytest.raises(ImageLoopError, match=r"dvc checkout|nothing tracks it"):
        images_split_before(workspace, 7)


def test_another_data_set_in_between_moves_no_image(draw_folder, workspace):
    first = run(draw_folder(cat=20, dog=20), workspace)
    run(draw_folder(name="other", seed=3, ant=12, bee=12), workspace)

    grown = run(draw_folder(cat=33, dog=27), workspace)

    both = first.merge(grown, on="sha256")
    assert len(both) >= 20
    assert (both["split_x"] == both["split_y"]).all()
    assert (both["group_x"] == both["group_y"]).all()


def test_images_that_are_saved_again_keep_their_split(draw_folder, workspace):
    folder = draw_folder(cat=30, dog=30)
    first = run(folder, workspace)
    for file in folder.rglob("*.png"):
        with Image.open(file) as image:
            image.convert("RGB").resize((96, 96)).save(file.with_suffix(".jpg"), quality=90)
        file.unlink()

    again = run(folder, workspace)

    both = first.assign(name=first["path"].str.removesuffix(".png")).merge(
        again.assign(name=again["path"].str.removesuffix(".jpg")), on="name"
    )
    both = both[(both["split_x"] != "") & (both["split_y"] != "")]
    assert len(both) >= 40
    assert not set(first["sha256"]) & set(again["sha256"])
    assert (both["split_x"] == both["split_y"]).all()


def test_a_memory_of_an_earlier_release_has_no_counts(draw_folder, workspace):
    first = run(draw_folder(cat=20, dog=20), workspace)
    memory = pd.read_parquet(workspace.data / "known.parquet")
    memory.drop(columns="perceptual_hash").to_parquet(workspace.data / "known.parquet")
    (workspace.data / "catalog.parquet").unlink()

    again = run(draw_folder(cat=22, dog=20), workspace)

    both = first.merge(again, on="sha256")
    assert (both["split_x"] == both["split_y"]).all()


def test_concurrent_runs_give_a_shared_image_one_split(draw_folder, workspace):
    small = read_catalog(draw_folder(cat=20, dog=20), "folder", prepared_store(workspace.prepared, 32), 32, Limits())
    grown = read_catalog(draw_folder(cat=60, dog=60), "folder", prepared_store(workspace.prepared, 32), 32, Limits())

    catalogs = []
    for files in (small, grown):  # both are split before either is kept
        catalogs.append(split_catalog(files, images_split_before(workspace, 7), SplitSettings(seed=7), 4))
        remember_splits(catalogs[-1], workspace)
    for catalog in catalogs:
        keep_catalog(catalog, workspace)

    both = catalogs[0].merge(catalogs[1], on="sha256")
    assert len(both) >= 20
    assert (both["split_x"] == both["split_y"]).all()


def test_an_image_that_was_taken_out_finds_its_split_again(draw_folder, workspace):
    folder = draw_folder(cat=20, dog=20)
    first = run(folder, workspace)
    content = (folder / "cat" / "4.png").read_bytes()
    (folder / "cat" / "4.png").unlink()
    run(folder, workspace)
    (folder / "cat" / "4.png").write_bytes(content)

    again = run(folder, workspace)

    pd.testing.assert_series_equal(first["split"], again["split"])


def test_seeds_are_remembered_apart(draw_folder, workspace):
    folder = draw_folder(cat=40, dog=40)
    first, other = run(folder, workspace), run(folder, workspace, seed=8)

    again = run(folder, workspace)

    assert (first["split"] == again["split"]).all()
    assert (first["split"] != other["split"]).any()
    assert again.attrs["split_seed"] == 7
