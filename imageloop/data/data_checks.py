"""See that a data set can be trained on: enough of it is usable, of every class, in every split."""

import logging
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from imageloop.data.catalog_schema import SPLITS, accepted, check_catalog
from imageloop.data.settings import DataSettings, SplitSettings
from imageloop.data.sources.class_folders import is_split_name
from imageloop.errors import ImageLoopError

logger = logging.getLogger(__name__)


def check_usable(catalog: pd.DataFrame, settings: DataSettings) -> None:
    """Stop where nothing can be trained on a data set. Raises: ImageLoopError."""
    check_quarantined(check_catalog(catalog), settings.max_quarantined)
    check_class_sizes(catalog, settings.split)


def check_quarantined(catalog: pd.DataFrame, max_share: float) -> None:
    """Stop where much of a data set cannot be used; unlabelled images of a split, as competitions have, do not count.

    Raises: ImageLoopError with the reasons, and the setting that lets the run go on.
    """
    labelled = catalog[~((catalog["label"] == "") & catalog["path"].map(_is_in_split))]
    share = float((labelled["status"] == "quarantined").mean()) if len(labelled) else 0.0
    if share > max_share:
        examples = labelled[labelled["status"] == "quarantined"].drop_duplicates("reason").head(3)
        shown = "; ".join(f"'{row.path}' is {row.reason}" for row in examples.itertuples())
        left = accepted(labelled)["label"].nunique()
        rest = (
            f"To go on with the rest: --set data.max_quarantined={min(1.0, np.ceil(share * 20) / 20):.2g}"
            if left > 1
            else f"The rest shows {left} class{'' if left == 1 else 'es'}, which cannot be trained: correct the files"
        )
        raise ImageLoopError(
            f"expected at most {max_share:.0%} of the files to be unusable, got {share:.0%} of {len(labelled)} ({_quarantine_summary(labelled)}). "
            f"For example {shown}. {rest}"
        )


def _is_in_split(path: str) -> bool:
    return is_split_name(PurePosixPath(path).parts[0]) and "/" in path


def check_class_sizes(catalog: pd.DataFrame, settings: SplitSettings) -> None:
    """Raises: ImageLoopError that names each class that is too small or has no usable image, or the only one."""
    sizes = accepted(catalog).groupby("label")["sha256"].nunique()
    gone = sorted(set(catalog.loc[catalog["label"] != "", "label"]) - set(sizes.index))
    if gone and len(sizes):
        named = "; ".join(
            f"'{label}' ({_quarantine_summary(rows)}; '{rows['path'].iloc[0]}' is {rows['reason'].iloc[0]})"
            for label, rows in catalog[catalog["label"].isin(gone[:5])].groupby("label")
        )
        raise ImageLoopError(
            f"expected usable images of each class, got none of {len(gone)}: {named}; replace them, or remove the folder if it is no class"
        )
    if len(sizes) < 2:
        raise ImageLoopError(
            f"expected two classes or more with usable images, got {len(sizes)} ({', '.join(sizes.index) or 'none'}); "
            f"{_quarantine_summary(catalog)}"
        )
    small = sizes[sizes < settings.min_images_per_class]
    if len(small):
        named = ", ".join(f"'{label}' has {count}" for label, count in small.items())
        raise ImageLoopError(
            f"expected {settings.min_images_per_class} usable images or more of each class, got: {named}; "
            f"add images or remove the class; {_quarantine_summary(catalog)}"
        )


def _quarantine_summary(catalog: pd.DataFrame) -> str:
    reasons = catalog.loc[catalog["status"] == "quarantined", "reason"].str.split(":").str[0].value_counts()
    if reasons.empty:
        return "no image was quarantined"
    return "quarantined: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items())


def check_splits(catalog: pd.DataFrame, placed: set[str]) -> None:
    """`placed`: classes with new groups; a problem of earlier runs is only logged.

    Raises: ImageLoopError that names each class without a training or a test image.
    """
    images = accepted(catalog)
    found = images.groupby(["label", "split"]).size().unstack(fill_value=0).reindex(columns=list(SPLITS), fill_value=0)
    lacking = found[(found["train"] == 0) | (found["test"] == 0)]
    if len(lacking):
        groups = images.groupby("label")["group"].nunique()
        named = ", ".join(
            f"'{label}' has {found.loc[label].sum()} in {groups[label]} groups of near duplicates" for label in lacking.index
        )
        sentence = (
            f"expected training and test images of each class, got too few that differ: {named}; a group is never split, "
            "so add images of other scenes, remove the class, or split anew with another data.split.seed"
        )
        if placed & set(lacking.index):
            raise ImageLoopError(sentence)
        logger.warning("%s", sentence)
    if not found["validation"].sum():
        raise ImageLoopError(
            f"expected validation images, got none: the {len(images)} images show {images['group'].nunique()} different scenes, which "
            "training and test take; a group of near duplicates is never split, so add images of other scenes"
        )


def warn_of_large_groups(catalog: pd.DataFrame, max_bits: int) -> None:
    """Parts of one kind look like copies of each other, as frames of a video do: only a person knows which they are."""
    for label, images in accepted(catalog).groupby("label"):
        largest = int(images["group"].value_counts().iloc[0])
        if max_bits and 2 * largest > len(images):
            logger.warning(
                "%d of %d images of the class '%s' count as near duplicates, and stand in one split; if they are different things that "
                "look alike, train with --set data.duplicate_bits=0",
                largest,
                len(images),
                label,
            )
