import pandas as pd
import pytest

from classifier.data.previous import keep_catalog, previous_catalog
from classifier.errors import ImageLoopError


def test_no_catalog_is_no_error_and_a_damaged_one_is(workspace):
    assert previous_catalog(workspace) is None

    workspace.data.mkdir()
    (workspace.data / "catalog.parquet").write_text("broken")

    with pytest.raises(ImageLoopError, match="dvc checkout"):
        previous_catalog(workspace)


def test_the_seed_of_the_split_is_kept_with_the_catalog(workspace):
    catalog = pd.DataFrame({"path": []})
    catalog.attrs["split_seed"] = 3

    keep_catalog(catalog, workspace)

    assert pd.read_parquet(workspace.data / "catalog.parquet").attrs == {"split_seed": 3}
