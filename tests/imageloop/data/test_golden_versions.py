"""The same images keep their data version, classes and splits in every release.

The versions were computed with the code of before 0.2.0. Another one means that users' data gets new splits: raise it on purpose only.
"""

import os
from pathlib import Path

import pytest

from imageloop.data.catalog import read_catalog
from imageloop.data.catalog_schema import content_hash
from imageloop.data.ingestion import prepared_store
from imageloop.data.settings import DataSettings, GeneratedSource
from imageloop.data.sources.generated import bring_generated
from imageloop.data.splits import split_catalog

SIDE = 64


def version_and_splits(folder: Path, kind: str, workspace) -> tuple[str, dict[str, int]]:
    settings = DataSettings()
    files = read_catalog(folder, kind, prepared_store(workspace.prepared, SIDE), SIDE, settings.limits)
    catalog = split_catalog(files, None, settings.split, settings.duplicate_bits)
    return content_hash(catalog), catalog[catalog["split"] != ""].groupby("split").size().to_dict()


def test_the_embedded_images_keep_their_version(workspace, tmp_path):
    folder = bring_generated(GeneratedSource(num_images=60), tmp_path)

    found = version_and_splits(folder, "generated", workspace)

    assert found == ("679bf22765ef", {"test": 6, "train": 48, "validation": 6})


@pytest.mark.skipif("IMAGELOOP_TEST_DATA" not in os.environ, reason="needs real images: IMAGELOOP_TEST_DATA")
@pytest.mark.parametrize(
    ("name", "version", "num_test"),
    [("signdigits", "9614068b7664", 204), ("pets37", "73d974b8c05e", 37), ("flowers", "25ce274a8fef", 150)],
)
def test_real_images_of_many_classes_keep_their_version(workspace, name, version, num_test):
    found, splits = version_and_splits(Path(os.environ["IMAGELOOP_TEST_DATA"], "data", name), "folder", workspace)

    assert (found, splits["test"]) == (version, num_test)
