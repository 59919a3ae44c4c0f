"""Compare a candidate with the champion: on the test images, and on recent labelled predictions."""

import hashlib
import logging
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.data.prepared_images import ImagesGoneError, PreparedImages
from imageloop.data.split_history import images_split_before
from imageloop.lifecycle.feedback_images import ImagesByRequest
from imageloop.model.linear_head import predict_from_embeddings
from imageloop.model.package import PackageError, read_info
from imageloop.model.predictor import Predictor
from imageloop.model.signing import SignatureError, public_key
from imageloop.promotion.champion_comparison import BestChampion, Champion, RecentComparison
from imageloop.promotion.evaluation import evaluate
from imageloop.training.feedback_data import FeedbackData, with_image
from imageloop.usable_cores import usable_cores
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


def compare(
    candidate: Path, images: PreparedImages, feedback: FeedbackData, model_name: str, retained: ImagesByRequest
) -> tuple[Champion | None, RecentComparison | None]:
    """The champion's predictions for the gates: on test images and on recent labelled predictions. Only a verified package is used."""
    champion = champion_on(images, model_name)
    if champion is not None and not champion.verified:
        return champion, None
    if champion is not None and feedback.trains_blocks:
        return champion, compare_on_retained(candidate, feedback, model_name, retained)
    return champion, compare_on_recent(candidate, feedback, model_name)


def champion_on(images: PreparedImages, model_name: str) -> Champion | None:
    """The champion with its predictions; without predictions where its package cannot be used or all test images trained it; None without a champion."""
    registry = ModelRegistry(model_name)
    version = registry.champion()
    if version is None:
        return None
    workspace = Workspace.current()
    key = public_key(workspace.keys)
    try:
        folder = registry.package(version)
        predictor = Predictor.load(folder, key, threads=usable_cores())
    except (PackageError, SignatureError) as error:  # or no training could ever replace a champion that cannot be served any more
        logger.warning("version %s, the champion, cannot be used: %s", version, error)
        return Champion(version, [], None, verified=False)
    names = predictor.info.class_names
    if names != images.class_names:
        return Champion(version, names, None)
    fresh = without(images, taught_by(registry, [version], workspace))
    if fresh.of_split("test").empty:
        return Champion(version, names, None)
    try:
        seen = fresh.at_side(predictor.info.side_pixels, workspace.prepared)
    except ImagesGoneError as error:  # of another side, where the raw images are not at hand, as in a pod
        seen = _at_hand(fresh, predictor.info.side_pixels, workspace)
        if seen.of_split("test").empty:
            raise
        logger.warning("%s; version %s is compared on the %d that are at hand", error, version, len(seen.of_split("test")))
    return Champion(
        version, names, evaluate(predictor, folder, seen, workspace).predictions, best=best_champion(registry, images)
    )


def best_champion(registry: ModelRegistry, images: PreparedImages) -> BestChampion | None:
    """The most accurate champion on exactly these test images; a version that a user approved starts the record anew."""
    test_set = hash_of_test_set(images.of_split("test"))
    champions = []
    for entry in registry.versions():  # the newest first
        if entry.verdict == "advance" and entry.test_set == test_set and entry.accuracy is not None:
            champions.append(BestChampion(entry.version, entry.accuracy))
            if entry.approved:
                break
    return max(champions, key=lambda champion: champion.accuracy, default=None)


def hash_of_test_set(table: pd.DataFrame) -> str:
    """A short hash of test images and their labels: columns `sha256` and `label`."""
    lines = sorted(f"{row.sha256} {row.label}" for row in table.itertuples())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _at_hand(images: PreparedImages, side: int, workspace: Workspace) -> PreparedImages:
    """Without the test images that were never seen at this side."""
    elsewhere = replace(images, side_pixels=side)
    store = elsewhere.open_store(workspace.prepared)
    return without(elsewhere, {sha256 for sha256 in images.of_split("test")["sha256"] if sha256 not in store})


def taught_by(registry: ModelRegistry, versions: list[str], workspace: Workspace) -> set[str]:
    """SHA-256 of the images that training_images or tuned one of `versions`. Raises: UnknownVersionError."""
    training_images: set[str] = set()
    for version in versions:
        made = registry.made_with(version)
        if made is not None:
            known = images_split_before(replace(workspace, data_set=made.data.data_set), made.data.split.seed)
            training_images |= set(known.loc[known["split"] != "test", "sha256"])
    return training_images


def without(images: PreparedImages, unfit: set[str]) -> PreparedImages:
    """Remove the test images in `unfit`, which trained a version that was split by another seed."""
    table = images.table
    return replace(images, table=table[(table["split"] != "test") | ~table["sha256"].isin(unfit)].reset_index(drop=True))


def compare_on_recent(candidate: Path, feedback: FeedbackData, model_name: str) -> RecentComparison | None:
    """The comparison on held-back labelled predictions, contradicted ones included.

    None without feedback data; empty where the two have different backbones.
    """
    registry = ModelRegistry(model_name)
    version = registry.champion()
    if version is None or feedback.labelled.empty:
        return None
    info, champion = read_info(candidate), registry.package(version)
    theirs = read_info(champion)
    alike = (theirs.backbone, theirs.side_pixels, theirs.class_names) == (info.backbone, info.side_pixels, info.class_names)
    if not alike or not feedback.fits(info.backbone, info.side_pixels):
        return RecentComparison.impossible()
    evaluating = feedback.evaluating()
    rows_ND, targets_N = feedback.rows_of(evaluating, info.class_names)
    ours, before = (predict_from_embeddings(folder, rows_ND).argmax(1) for folder in (candidate, champion))
    return RecentComparison(
        np.asarray(ours == targets_N),
        np.asarray(before == targets_N),
        scenes_N=pd.factorize(evaluating["scene"])[0],
        attempt=_attempt(registry, version),
        augmented=feedback.augmented,
    )


def compare_on_retained(
    candidate: Path, feedback: FeedbackData, model_name: str, retained: ImagesByRequest
) -> RecentComparison | None:
    """The comparison on the retained images of held-back labelled predictions: both versions predict them, whatever backbones they have.

    A right prediction of the champion whose image was not retained counts as a loss of the candidate: else the images that the champion
    gets wrong would be too many.
    """
    registry = ModelRegistry(model_name)
    version = registry.champion()
    if version is None:
        return None
    evaluating = feedback.evaluating()
    seen = with_image(evaluating)
    names, ground_truth = seen["request_id"].tolist(), seen["ground_truth"].to_numpy(object)
    images_at = cache(partial(retained.read, names))  # both versions see the same side most times

    def right(package: Path) -> NDArray[np.bool_]:
        predictor = Predictor.unsigned(package, threads=usable_cores())
        labels = predictor.predict(images_at(predictor.info.side_pixels)).labels
        return np.asarray(np.array(labels, object) == ground_truth, bool)

    gone = evaluating.drop(seen.index)[lambda rest: rest["model_version"] == version]
    return RecentComparison(
        right(candidate),
        right(registry.package(version)),
        scenes_N=pd.factorize(seen["scene"])[0],
        attempt=_attempt(registry, version),
        num_gone=feedback.num_gone + int((gone["label"] == gone["ground_truth"]).sum()),
    )


def _attempt(registry: ModelRegistry, champion: str) -> int:
    """The number of this candidate against the champion, from 1."""
    against = [one for one in registry.versions() if one.judged_against == champion]
    return 1 + len([one for one in against if one.verdict in ("rollback", "hold")])
