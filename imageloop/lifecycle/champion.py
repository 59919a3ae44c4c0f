"""The champion's answers to a candidate's test pictures, and to what the service was corrected on."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.data.prepared_images import PicturesGoneError, PreparedPictures
from imageloop.data.split_history import known_pictures
from imageloop.embeddings.drift_samples import embeddings_of
from imageloop.model.linear_head import answer_embeddings
from imageloop.model.package import PackageError, read_info
from imageloop.model.predictor import Predictor
from imageloop.model.signing import SignatureError, public_key
from imageloop.promotion.evaluation import evaluate
from imageloop.promotion.gates import Champion, RecentComparison
from imageloop.training.feedback_data import Experience
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


def compare(
    candidate: Path, pictures: PreparedPictures, experience: Experience, model_name: str
) -> tuple[Champion | None, RecentComparison | None]:
    """What gates hold a candidate against: of test pictures, and of what the service met. Only files that are what was signed are asked."""
    champion = champion_on(pictures, model_name)
    if champion is not None and not champion.verified:
        return champion, None
    return champion, compare_on_recent(candidate, experience, model_name)


def champion_on(pictures: PreparedPictures, model_name: str) -> Champion | None:
    """None where there is no champion yet; without answers where it cannot be asked, or was taught all of the test pictures."""
    registry = ModelRegistry(model_name)
    version = registry.champion()
    if version is None:
        return None
    workspace = Workspace.current()
    key = public_key(workspace.keys)
    try:
        folder = registry.package(version)
        predictor = Predictor.load(folder, key, threads=os.cpu_count() or 1)
    except (PackageError, SignatureError) as error:  # or no training could ever take the place of what cannot be served any more
        logger.warning("version %s, the champion, cannot be asked: %s", version, error)
        return Champion(version, [], None, verified=False)
    names = predictor.info.class_names
    if names != pictures.class_names:
        return Champion(version, names, None)
    fresh = without(pictures, taught_by(registry, [version], workspace))
    if fresh.of_split("test").empty:
        return Champion(version, names, None)
    try:
        seen = fresh.at_side(predictor.info.side_pixels, workspace.prepared)
    except PicturesGoneError as error:  # of another side, where the raw pictures are not at hand, as in a pod
        seen = _at_hand(fresh, predictor.info.side_pixels, workspace)
        if seen.of_split("test").empty:
            raise
        logger.warning("%s; version %s is compared on the %d that are at hand", error, version, len(seen.of_split("test")))
    return Champion(version, names, evaluate(predictor, folder, seen, workspace).predictions)


def _at_hand(pictures: PreparedPictures, side: int, workspace: Workspace) -> PreparedPictures:
    """Without the test pictures that were never seen at this side."""
    elsewhere = replace(pictures, side_pixels=side)
    store = elsewhere.open_store(workspace.prepared)
    return without(elsewhere, {sha256 for sha256 in pictures.of_split("test")["sha256"] if sha256 not in store})


def taught_by(registry: ModelRegistry, versions: list[str], workspace: Workspace) -> set[str]:
    """SHA-256 of the pictures that taught or tuned one of `versions`. Raises: UnknownVersionError."""
    taught: set[str] = set()
    for version in versions:
        made = registry.made_with(version)
        if made is not None:
            known = known_pictures(workspace, made.data.split.seed)
            taught |= set(known.loc[known["split"] != "test", "sha256"])
    return taught


def without(pictures: PreparedPictures, unfit: set[str]) -> PreparedPictures:
    """Without the test pictures among `unfit`: most of them taught, where a version was split by another seed."""
    table = pictures.table
    return replace(pictures, table=table[(table["split"] != "test") | ~table["sha256"].isin(unfit)].reset_index(drop=True))


def compare_on_recent(candidate: Path, experience: Experience, model_name: str) -> RecentComparison | None:
    """None where nothing was learnt from the service; of no answer where candidate and champion do not see alike."""
    registry = ModelRegistry(model_name)
    version = registry.champion()
    if version is None or experience.labelled.empty:
        return None
    info, champion = read_info(candidate), registry.package(version)
    theirs = read_info(champion)
    alike = (theirs.backbone, theirs.side_pixels, theirs.class_names) == (info.backbone, info.side_pixels, info.class_names)
    if not alike or not experience.fits(info.backbone, info.side_pixels):
        return RecentComparison.impossible()
    refused = [one for one in registry.versions() if one.judged_against == version and one.verdict == "rollback"]
    judging = experience.of_role("held_back")
    rows_ND, targets_N = experience.rows("held_back", info.class_names)
    newest = experience.recent if len(experience.recent) else judging
    all_ND, count = np.concatenate([rows_ND, embeddings_of(newest)]), len(rows_ND)
    ours, before = (answer_embeddings(folder, all_ND).argmax(1) for folder in (candidate, champion))
    changed = pd.Series(ours[count:] != before[count:])
    return RecentComparison(
        np.asarray(ours[:count] == targets_N),
        np.asarray(before[:count] == targets_N),
        scenes_N=pd.factorize(judging["scene"])[0],
        changed=float(changed.groupby(newest["scene"].to_numpy()).mean().mean()),
        attempt=1 + len(refused),
        imitated=experience.imitated,
    )
