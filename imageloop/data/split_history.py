"""Which image is in which split: the catalog of the last run, and every image that was ever split.

`data/catalog.parquet` is tracked by DVC and can be restored; `data/known.parquet` has the images that are not in it any
more, so that one that returns gets its split again.
"""

import logging
from pathlib import Path

import pandas as pd

from imageloop.atomic_files import replacing
from imageloop.data.catalog_schema import SPLIT_CATALOG, check_catalog
from imageloop.data.splits import SEED_ATTRIBUTE
from imageloop.errors import ImageLoopError
from imageloop.shared_folder import fetch, publish
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
NAME = "catalog.parquet"
KNOWN = "known.parquet"
REMEMBERED = ["sha256", "perceptual_hash", "group", "split", "added_at"]


def images_split_before(workspace: Workspace, seed: int) -> pd.DataFrame:
    """Every image ever split with `seed`, the last catalog's first: columns `REMEMBERED`.

    Raises: ImageLoopError as `previous_catalog` does.
    """
    parts = []
    catalog = previous_catalog(workspace)
    if catalog is not None and catalog.attrs.get(SEED_ATTRIBUTE) == seed:
        parts.append(catalog[REMEMBERED])
    fetch(workspace.data / KNOWN)
    known = _memory(workspace)
    parts.append(known.loc[known["seed"] == seed, REMEMBERED])
    together = pd.concat([part for part in parts if len(part)] or [pd.DataFrame(columns=REMEMBERED)])
    return together[together["split"] != ""].drop_duplicates("sha256")


def previous_catalog(workspace: Workspace) -> pd.DataFrame | None:
    """The last catalog, None where there is none yet.

    Raises: ImageLoopError where the file is damaged: going on without it would move images between splits.
    """
    file = workspace.data / NAME
    fetch(file)
    if not file.exists():
        return None
    remedy = "restore it: `dvc checkout data/catalog.parquet.dvc --force`; or delete it and run once with --no-cache"
    return check_catalog(_read(file, remedy), SPLIT_CATALOG)


def _memory(workspace: Workspace) -> pd.DataFrame:
    """Read the remembered splits of all seeds: columns `seed` and `REMEMBERED`; early releases stored no perceptual hash."""
    file = workspace.data / KNOWN
    if not file.exists():
        return pd.DataFrame(columns=["seed", *REMEMBERED])
    found = _read(file, "nothing tracks it: delete it, and images that are not in the last catalog are split anew")
    return found if "perceptual_hash" in found else found.assign(perceptual_hash="")


def _read(file: Path, remedy: str) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (OSError, ValueError, KeyError) as error:
        raise ImageLoopError(
            f"expected the splits of earlier runs in '{file}', got a damaged file ({error}); {remedy}"
        ) from error


def remember_splits(catalog: pd.DataFrame, workspace: Workspace) -> None:
    """Record the splits of these images for later runs, also for one that is under way. Call it while the data lock is held."""
    seed = catalog.attrs[SEED_ATTRIBUTE]
    mine = images_split_before(workspace, seed)  # adds what other runs recorded meanwhile
    others = _memory(workspace)
    now = catalog.loc[catalog["split"] != "", REMEMBERED]
    mine = pd.concat([part for part in (now, mine) if len(part)]).drop_duplicates("sha256").assign(seed=seed)
    rest = others[others["seed"] != seed]
    with replacing(workspace.data / KNOWN) as aside:
        (pd.concat([mine, rest]) if len(rest) else mine).to_parquet(aside, index=False)
    publish(workspace.data / KNOWN)


def keep_catalog(catalog: pd.DataFrame, workspace: Workspace) -> None:
    """Make this catalog the one that the next run starts from; images that it lacks stay recorded."""
    remember_splits(catalog, workspace)
    with replacing(workspace.data / NAME) as aside:
        catalog.to_parquet(aside)
    publish(workspace.data / NAME)
