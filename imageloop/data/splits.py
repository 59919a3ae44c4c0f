"""Give each image its split: train, validation or test, 80/10/10 of each class, for ever.

A group of duplicates is placed whole, when it is first seen, by a hash; ever after its images keep their split and
new images join its split, even if the group is gone. So a growing data set moves no image, and no test image was ever trained on. Retained
images have labels from clients: they are for training and validation, never for testing.
"""

import hashlib
import logging

import pandas as pd

from imageloop.data.catalog import quarantine
from imageloop.data.catalog_schema import SPLIT_CATALOG, SPLITS, accepted, check_catalog
from imageloop.data.data_checks import check_class_sizes, check_splits, warn_of_large_groups
from imageloop.data.duplicates import Lookalikes, find_lookalikes
from imageloop.data.settings import SplitSettings
from imageloop.data.sources.class_folders import RETAINED_FOLDER

logger = logging.getLogger(__name__)
SEED_ATTRIBUTE = "split_seed"


def split_catalog(catalog: pd.DataFrame, known: pd.DataFrame | None, settings: SplitSettings, max_bits: int) -> pd.DataFrame:
    """Give every accepted image its group and its split, as `known` has them for images that were split before.

    `known`: images split before with the same seed (sha256, perceptual_hash, group, split, added_at).
    Raises: ImageLoopError if a class is too small to be split, or all its images are near duplicates.
    """
    catalog = catalog.assign(split="")
    if known is not None:
        catalog = _inherit_by_looks(_inherit(catalog, known), known, max_bits)
    check_class_sizes(catalog, settings)
    roots, ties = _join(catalog, find_lookalikes(catalog, max_bits))
    catalog = quarantine(catalog, ties)
    catalog = _name_groups(catalog, roots)
    placed = set(accepted(catalog).loc[lambda images: images["split"] == "", "label"])
    catalog = _place_new_groups(catalog, settings)
    catalog = quarantine(catalog, _kept_in_test(catalog))
    check_splits(catalog, placed)
    warn_of_large_groups(catalog, max_bits)
    catalog.attrs[SEED_ATTRIBUTE] = settings.seed
    counts = accepted(catalog)["split"].value_counts()
    sizes = ", ".join(f"{counts.get(name, 0)} {name}" for name in SPLITS)
    logger.info("split images: %s; quarantined as near duplicates of two splits: %d", sizes, len(ties))
    return check_catalog(catalog, SPLIT_CATALOG)


def _inherit(catalog: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Carry over split, group and time of arrival by content."""
    if known.empty:
        return catalog
    catalog = catalog.copy()
    known = known[known["split"] != ""].drop_duplicates("sha256").set_index("sha256")
    seen = catalog["sha256"].isin(known.index) & (catalog["status"] == "accepted")
    for column in ("split", "group", "added_at"):
        catalog.loc[seen, column] = catalog.loc[seen, "sha256"].map(known[column])
    return catalog


def _inherit_by_looks(catalog: pd.DataFrame, known: pd.DataFrame, max_bits: int) -> pd.DataFrame:
    """The same from images that are here no more: one that was saved anew has other bytes, and must not test what it trained."""
    new = accepted(catalog).loc[lambda images: images["split"] == "", ["perceptual_hash"]]
    gone = known[~known["sha256"].isin(catalog["sha256"]) & (known["split"] != "") & (known["perceptual_hash"] != "")]
    if new.empty or gone.empty:
        return catalog
    gone = gone.sort_values(["added_at", "sha256"])
    both = pd.concat([new, gone[["perceptual_hash"]]], ignore_index=True).assign(status="accepted")
    alike, splits = find_lookalikes(both, max_bits), gone["split"].tolist()
    oldest: dict[int, int] = {}
    ties: dict[int, str] = {}
    for node, rows in enumerate(alike.rows):
        mine = [new.index[row] for row in rows if row < len(new)]
        theirs = [row - len(new) for row in alike.family(node) if row >= len(new)] if mine else []
        found = {splits[place] for place in theirs}
        if len(found) > 1:
            ties.update(dict.fromkeys(mine, f"{_tied(found)} that stood here before"))
        elif theirs:
            oldest.update(dict.fromkeys(mine, min(theirs)))
    columns = ["split", "group", "added_at"]
    catalog = catalog.copy()
    catalog.loc[list(oldest), columns] = gone.iloc[list(oldest.values())][columns].set_axis(list(oldest))
    return quarantine(catalog, ties)


def _tied(splits: set[str]) -> str:
    return f"ties_splits: shows the same as images of {' and '.join(sorted(splits))}"


class _Groups:
    """Disjoint sets of near duplicates, each with the split that its images have, if any."""

    def __init__(self, num_nodes: int) -> None:
        self._parent = list(range(num_nodes))
        self._split = [""] * num_nodes

    def root(self, node: int) -> int:
        while self._parent[node] != node:
            self._parent[node] = self._parent[self._parent[node]]
            node = self._parent[node]
        return node

    def split(self, node: int) -> str:
        return self._split[self.root(node)]

    def join(self, nodes: list[int], split: str) -> None:
        roots = {self.root(node) for node in nodes}
        first = min(roots)
        for root in roots:
            self._parent[root] = first
        self._split[first] = split


def _join(catalog: pd.DataFrame, alike: Lookalikes) -> tuple[pd.Series, dict[int, str]]:
    """Add one image after the other, those with a split first; images that would join groups of two splits are quarantined.

    Returns the group's number for each row, and a reason for each row that is quarantined.
    """
    groups = _Groups(len(alike.rows))
    splits, ages = catalog["split"].to_dict(), catalog["added_at"].to_dict()
    ties: dict[int, str] = {}
    present: set[int] = set()
    oldest_first = sorted(
        range(len(alike.rows)), key=lambda node: min((splits[row] == "", ages[row]) for row in alike.rows[node])
    )
    for node in oldest_first:
        linked = [other for other in alike.near.get(node, ()) if other in present]
        rows = alike.rows[node]
        found = {splits[row] for row in rows} | {groups.split(other) for other in linked}
        found.discard("")
        if len(found) > 1:
            ties.update(dict.fromkeys(rows, _tied(found)))
            continue
        present.add(node)
        groups.join([node, *linked], next(iter(found), ""))
    roots = {row: groups.root(node) for node in present for row in alike.rows[node]}
    return pd.Series(roots, dtype=int), ties


def _name_groups(catalog: pd.DataFrame, roots: pd.Series) -> pd.DataFrame:
    """Name a group after its oldest member, and give its split to members without one."""
    catalog = catalog.copy()
    images = accepted(catalog).assign(root=roots)
    ordered = images.assign(is_new=images["split"] == "").sort_values(["is_new", "added_at", "sha256"])
    catalog.loc[ordered.index, "group"] = ordered.groupby("root")["group"].transform("first")
    inherited = ordered["split"].where(ordered["split"] != "").groupby(ordered["root"]).transform("first")
    catalog.loc[ordered.index, "split"] = inherited.fillna("").astype(str)
    return catalog


def _place_new_groups(catalog: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    """Give each new group, in the order of its hash, to the split that lacks the largest share."""
    catalog = catalog.copy()
    shares = {"train": settings.train, "validation": settings.validation, "test": settings.test}
    chosen: dict[str, str] = {}
    for _, images in accepted(catalog).groupby("label"):
        counts = {name: int((images["split"] == name).sum()) for name in SPLITS}
        new = images[images["split"] == ""].groupby("group")
        sizes, only_retained = new.size(), new["source"].agg(lambda sources: bool((sources == RETAINED_FOLDER).all()))
        for group in sorted(sizes.index, key=lambda name: _hash(name, settings.seed)):
            total = sum(counts.values()) + sizes[group]
            split = max(SPLITS[:2] if only_retained[group] else SPLITS, key=lambda name: shares[name] * total - counts[name])
            counts[split] += sizes[group]
            chosen[group] = split
        _spare_one_each(counts, sizes, only_retained, chosen)
    new = (catalog["status"] == "accepted") & (catalog["split"] == "")
    catalog.loc[new, "split"] = catalog.loc[new, "group"].map(chosen)
    return catalog


def _spare_one_each(counts: dict[str, int], sizes: pd.Series, only_retained: pd.Series, chosen: dict[str, str]) -> None:
    """Give a class of few large groups, such as bursts and videos, at least one group for test and one for validation."""
    for split in ("test", "validation"):
        spare = [group for group in sizes.index if chosen[group] == "train" and not (split == "test" and only_retained[group])]
        smallest = min(spare, key=lambda group: (sizes[group], group), default=None)
        if counts[split] == 0 and smallest is not None and counts["train"] > sizes[smallest]:
            chosen[smallest] = split
            counts["train"] -= sizes[smallest]
            counts[split] += sizes[smallest]


def _kept_in_test(catalog: pd.DataFrame) -> dict[int, str]:
    """A reason for each retained image that is a near duplicate of a test image."""
    rows = catalog.index[(catalog["source"] == RETAINED_FOLDER) & (catalog["split"] == "test")]
    return dict.fromkeys(rows, "kept_in_test: shows the same as a test image, which no feedback may touch")


def _hash(group: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()
