import shutil

import numpy as np

from imageloop.data.catalog import read_catalog
from imageloop.data.data_report import data_report
from imageloop.data.ingestion import prepared_store
from imageloop.data.settings import Limits, SplitSettings
from imageloop.data.splits import split_catalog
from materializers.artifact_files import prepared_images


def test_the_report_shows_counts_samples_groups_and_reasons(draw_folder, tmp_path):
    folder = draw_folder(**{"cat": 12, "d<o>g": 12})
    shutil.copy(folder / "cat" / "1.png", folder / "cat" / "twin.png")
    (folder / "cat" / "bad.jpg").write_text("no image")
    store = prepared_store(tmp_path / "store", 32)
    catalog = split_catalog(read_catalog(folder, "folder", store, 32, Limits()), None, SplitSettings(), 4)

    page = data_report(catalog, lambda sha256: store.read([sha256])[0])

    assert "25 images in 2 classes, 1 quarantined" in page
    assert "d&lt;o&gt;g" in page
    assert "<o>" not in page
    assert page.count("data:image/jpeg") >= 18
    assert "1 groups, 2 images" in page
    assert "not_an_image" in page


def test_images_are_shown_at_whatever_side_they_were_prepared(workspace):
    for side, key in ((112, "a"), (260, "b")):
        prepared_store(workspace.prepared, side).append([key], np.full((1, side, side, 3), 7, np.uint8), [{}])

    read_image = prepared_images()

    assert (read_image("a").shape, read_image("b").shape) == ((112, 112, 3), (260, 260, 3))
    assert read_image("nowhere").shape == (224, 224, 3)
