"""Large groups of near duplicates, as bursts and videos give; the rest of the split is tested with images, in test_catalog."""

import pandas as pd
import pytest

from imageloop.data.data_checks import check_splits
from imageloop.data.settings import SplitSettings
from imageloop.data.splits import _place_new_groups
from imageloop.errors import ImageLoopError


def placed(sizes: list[int], **settings) -> pd.DataFrame:
    """Class `a` has one image a group; `b` has groups of these sizes."""
    groups = [f"a{n}" for n in range(40)] + [f"b{n}" for n, size in enumerate(sizes) for _ in range(size)]
    table = pd.DataFrame(
        {"group": groups, "label": [group[0] for group in groups], "split": "", "status": "accepted", "source": "folder"}
    )
    return _place_new_groups(table, SplitSettings(**settings))


@pytest.mark.parametrize("sizes", [[20, 20], [20, 15, 5], [40] * 6])
def test_a_class_of_few_bursts_is_judged_too(sizes):
    found = placed(sizes)

    check_splits(found, {"b"})
    assert found.groupby("group")["split"].nunique().max() == 1
    assert set(found.loc[found["label"] == "b", "split"]) >= (
        {"train", "test"} if len(sizes) == 2 else {"train", "validation", "test"}
    )


def test_a_class_of_duplicates_alone_is_refused_by_name():
    with pytest.raises(ImageLoopError, match="'b' has 40 in 1 groups of near duplicates"):
        check_splits(placed([40]), {"b"})
    check_splits(placed([40]), set())  # as an earlier run placed it


def test_two_films_of_each_class_leave_none_to_tune_by():
    table = placed([20, 20])
    films = table[table["label"] == "b"]
    both = pd.concat([films, films.assign(label="a", group="a" + films["group"])])

    with pytest.raises(ImageLoopError, match="80 images show 4 different scenes"):
        check_splits(both, {"a", "b"})


def test_small_shares_leave_at_least_one_test_image():
    check_splits(placed([1] * 40, train=0.98, validation=0.01, test=0.01), {"a", "b"})
