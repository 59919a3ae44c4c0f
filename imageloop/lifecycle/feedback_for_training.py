"""Open the database of records, and collect the feedback data of a training from it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.adapters.sqlite_files import check_sqlite_file, sqlite_file
from imageloop.data.prepared_images import PreparedImages
from imageloop.data.preprocessing import PREPROCESSING_VERSION
from imageloop.embeddings.drift_samples import frozen_scene_distance, with_scenes, with_typical
from imageloop.embeddings.novelty import Novelty, scene_distance_of
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.feedback_images import ImagesByRequest
from imageloop.lifecycle.last_blocks import FEWEST_IMAGES, embedded_by, right_without_image, with_last_blocks
from imageloop.lifecycle.retraining_choice import choose_rung
from imageloop.model.package import PackageInfo, read_info
from imageloop.model.served_versions import registered_version
from imageloop.monitoring.model_performance import measure_performance
from imageloop.monitoring.settings import PerformanceSettings
from imageloop.records.store.collector import Collected, collect
from imageloop.records.store.database import DATABASE_FILE, DATABASE_VARIABLE, Database
from imageloop.training.drift_augmentation import augment_with_drift
from imageloop.training.features import known_features
from imageloop.training.feedback_data import FeedbackData, in_scenes, role_of, select_feedback
from imageloop.training.poisoned_labels import Known
from imageloop.training.settings import FeedbackSettings, TrainingSettings
from imageloop.workspace_paths import Workspace

MIN_JUDGING = 4  # with fewer, not even all of them can show a gain that is more than chance
MAX_PREDICTIONS, MAX_LABELS = 200_000, 4_000  # that show whether labels are a fair sample
READ_PER_LABEL = 10  # of the labels that are read, some are of other versions, or of images that teach already


class SuspiciousLabelsError(ImageLoopError):
    """Labels that await approval before a model is trained on them."""


class NothingToLearnError(ImageLoopError):
    """Predictions of which no head can learn, or none can be judged."""


def open_database(workspace: Workspace, url: str | None = None) -> Database:
    """Open the given URL, or that of IMAGELOOP_DATABASE, or SQLite below `.imageloop`.

    Raises: DatabaseError; DatabaseFileError for a file that is locked or damaged.
    """
    url = url or os.environ.get(DATABASE_VARIABLE)
    folder = workspace.state / "records"
    file = sqlite_file(url) if url else folder / DATABASE_FILE
    if file is not None:
        check_sqlite_file(
            file, "records", "restore it from a backup, or move it away, and begin with the records that services still hold"
        )
    return Database(url) if url else Database.of_folder(folder)


@contextmanager
def collected_records(folder: Path | None, workspace: Workspace, url: str | None = None) -> Iterator[tuple[Database, Collected]]:
    """The database with what services have recorded in `folder` since it was collected last; None where the cluster stores it there itself.

    Raises: DatabaseError.
    """
    with closing(open_database(workspace, url)) as database:
        yield database, collect(folder, database) if folder is not None else Collected()


@dataclass(frozen=True)
class _Records:
    """What the database has of a model: labelled predictions, the newest predictions, and both of the champion alone."""

    labelled: pd.DataFrame
    recent: pd.DataFrame
    of_champion: pd.DataFrame
    predictions: pd.DataFrame


def collect_feedback_data(
    images: PreparedImages, settings: FeedbackSettings, model_name: str, workspace: Workspace, retained: ImagesByRequest
) -> FeedbackData:
    """Labelled predictions, or changed copies of images in their place, and how to retrain on them.

    With a frozen backbone the recorded embeddings of all versions that have it train a head. Of a champion whose blocks were trained only
    predictions count whose images were retained. Both may train the last blocks.
    Raises: SuspiciousLabelsError where the labels look poisoned, NothingToLearnError where they are too few.
    """
    registry = ModelRegistry(model_name)
    champion = registry.champion()
    if champion is None:
        return FeedbackData.none()
    folder = registry.package(champion)
    info = read_info(folder)
    records = _read_records(settings, model_name, champion, workspace)
    if settings.drift_augmentation is not None and info.backbone:
        (recent,) = seen_alike(registry, info, records.recent)
        return augment_with_drift(images, recent, info.backbone, settings.drift_augmentation, workspace)
    backbone = info.backbone or _backbone_before_training(registry, champion)
    training = images.of_split("train")
    known = known_features(images, training, backbone, workspace), images.targets(training)
    tables = records.labelled, records.recent
    if info.backbone:
        novelty = Novelty.read(folder)
        labelled, recent = seen_alike(registry, info, *tables)
    else:
        novelty = Novelty.of(known[0], len(images.class_names), training["label"].to_numpy(str))
        labelled, recent = embedded_by(backbone, tables, images, retained, workspace)
        if len(labelled) < FEWEST_IMAGES:
            raise _too_few_images(champion, labelled, records, settings)
    source, inside = (backbone, images.side_pixels), set(images.table["sha256"])
    scene = novelty.scene if novelty else 0.0
    feedback = select_feedback(
        with_typical(labelled, novelty), recent, known, images.class_names, source, settings, scene, inside
    )
    feedback = replace(feedback, bias=_bias(records, folder, (known, images.class_names) if info.backbone else (None, [])))
    _check_usable(feedback, settings, len(labelled))
    if info.backbone:
        return with_last_blocks(choose_rung(feedback, images, known, champion, folder, workspace), settings, retained)
    feedback = with_last_blocks(feedback, settings, retained)
    if feedback.ladder is None:
        raise _too_few_images(champion, labelled, records, settings)
    return replace(feedback, num_gone=right_without_image(records.of_champion, labelled, settings.held_back))


def _too_few_images(champion: str, retained: pd.DataFrame, records: _Records, settings: FeedbackSettings) -> NothingToLearnError:
    return NothingToLearnError(
        f"expected {FEWEST_IMAGES} retained images with a label that may train, and time for them (feedback.fine_tune_minutes), since the features "
        f"of version {champion} were trained too, which takes images, got images of {len(retained)} of {len(records.labelled)} labels and "
        f"{settings.fine_tune_minutes:g} minutes; deploy with IMAGELOOP_RETAIN_IMAGES_FOR and IMAGELOOP_RETAIN_ALL=1, or retrain by hand (images export, "
        "data.retained_images)"
    )


def _read_records(settings: FeedbackSettings, model_name: str, champion: str, workspace: Workspace) -> _Records:
    with closing(open_database(workspace, settings.database)) as database:
        labelled = database.labelled(model_name, newest=READ_PER_LABEL * settings.max_labels)
        recent = database.predictions(model_name, newest=settings.reference_predictions)
        of_champion = labelled[labelled["model_version"] == champion].tail(MAX_LABELS)
        predictions = database.recent_predictions(
            model_name, newest=MAX_PREDICTIONS, since=float(of_champion["time"].min()) - 1 if len(of_champion) else 0.0
        )
    return _Records(labelled, recent, of_champion, predictions[predictions["model_version"] == champion])


def _bias(records: _Records, champion: Path, known: tuple[Known | None, list[str]]) -> str | None:
    """Why the champion's labels are no fair sample of its predictions."""
    novelty, info = Novelty.read(champion), read_info(champion)
    seen = with_typical(with_scenes(records.of_champion, frozen_scene_distance(novelty, info)), novelty)
    return measure_performance(records.predictions, seen, PerformanceSettings(), *known).bias


def _backbone_before_training(registry: ModelRegistry, champion: str) -> str:
    """The frozen backbone whose features judge the labels of a champion whose features were trained."""
    made = registry.made_with(champion)
    return made.training.label_backbone if made else TrainingSettings().label_backbone


def _check_usable(feedback: FeedbackData, settings: FeedbackSettings, num_labels: int) -> None:
    """Raises: SuspiciousLabelsError where the labels look poisoned, NothingToLearnError where usable ones show too few scenes."""
    if suspicion := feedback.suspicion(settings):
        raise SuspiciousLabelsError(suspicion)
    usable = feedback.labelled[feedback.labelled["role"] != "quarantined"]
    num_scenes, judging = usable["scene"].nunique(), feedback.of_role("held_back")["scene"].nunique()
    if num_scenes < settings.fewest_scenes or judging < MIN_JUDGING:
        raise NothingToLearnError(
            f"expected labels of {settings.min_labels} images that do not show the same scene, {MIN_JUDGING} of them for evaluation, got {num_labels} "
            f"labels, {len(usable)} of them usable, of {num_scenes} scenes, {judging} of them for evaluation; wait for more"
        )


def seen_alike(registry: ModelRegistry, package: PackageInfo, *tables: pd.DataFrame) -> list[pd.DataFrame]:
    """Keep of each table the predictions with an embedding by the same backbone."""
    seen = sorted({version for table in tables for version in table["model_version"]})
    infos = {version: read_info(registry.package(registered_version(version))) for version in seen}
    alike = [
        version
        for version, info in infos.items()
        if (info.backbone, info.side_pixels, info.preprocessing_version)
        == (package.backbone, package.side_pixels, PREPROCESSING_VERSION)
    ]
    return [table[table["model_version"].isin(alike) & table["embedding"].notna()] for table in tables]


def roles_of(request_ids: list[str], settings: FeedbackSettings, model_name: str, workspace: Workspace) -> dict[str, str]:
    """Return the role of the images of these requests, where known: the role of the labelled images of their scene."""
    registry = ModelRegistry(model_name)
    champion = registry.champion()
    if champion is None:
        return {}
    folder = registry.package(champion)
    with closing(open_database(workspace, settings.database)) as database:
        labelled = database.labelled(model_name, newest=READ_PER_LABEL * settings.max_labels)
        asked = database.predictions_for(request_ids)
    labelled, asked = seen_alike(registry, read_info(folder), labelled, asked)
    _, found = in_scenes(scene_distance_of(folder), labelled, asked)
    return {row.request_id: role_of(row.scene, settings.held_back) for row in found.itertuples()}


def labels_state(settings: FeedbackSettings, model_name: str, workspace: Workspace) -> str:
    """A value for the cache key, which changes with a new label or a new champion."""
    if not settings.enabled:
        return "none"
    with closing(open_database(workspace, settings.database)) as database:
        words = ",".join([str(ModelRegistry(model_name).champion()), *database.newest_label_ids(model_name)])
    return hashlib.sha256(words.encode()).hexdigest()[:16]
