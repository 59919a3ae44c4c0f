"""Where the records of what serves lie, and what a training takes from them."""

import hashlib
import os
from dataclasses import replace

import pandas as pd

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.data.prepared_images import PreparedPictures
from imageloop.data.preprocessing import PREPROCESSING_VERSION
from imageloop.embeddings.drift_samples import with_scenes
from imageloop.embeddings.novelty import scene_distance_of
from imageloop.errors import ImageLoopError
from imageloop.model.package import PackageInfo, read_info
from imageloop.monitoring.model_performance import measure_truth
from imageloop.monitoring.settings import TruthSettings
from imageloop.records.store.database import DATABASE_VARIABLE, Database
from imageloop.training.drift_augmentation import imitate
from imageloop.training.features import known_features
from imageloop.training.feedback_data import Experience, collect_feedback, in_scenes, role_of
from imageloop.training.settings import ExperienceSettings
from imageloop.workspace_paths import Workspace

MIN_JUDGING = 4  # with fewer, not even all of them can show a gain that is more than chance
MAX_ANSWERS, MAX_TOLD = 200_000, 4_000  # that show whether labels are a fair sample
READ_PER_LABEL = 10  # of the labels that are read, some are of other versions, or of pictures that teach already


class SuspiciousLabelsError(ImageLoopError):
    """Labels that a person should look at before a model learns from them."""


class NothingToLearnError(ImageLoopError):
    """Answers of which no head can learn, or none can be judged."""


def open_database(workspace: Workspace, url: str | None = None) -> Database:
    """The URL that is given, or that of IMAGELOOP_DATABASE, or SQLite below `.imageloop`.

    Raises: DatabaseError.
    """
    wanted = url or os.environ.get(DATABASE_VARIABLE)
    return Database(wanted) if wanted else Database.of_folder(workspace.state / "records")


def gather_experience(
    pictures: PreparedPictures, settings: ExperienceSettings, model_name: str, workspace: Workspace
) -> Experience:
    """Labelled answers of versions that see with the champion's backbone, or changed copies of the pictures in their place.

    Raises: SuspiciousLabelsError where the labels look poisoned, NothingToLearnError where they are too few or of a model whose
    features were trained too.
    """
    registry = ModelRegistry(model_name)
    champion = registry.champion()
    if champion is None:
        return Experience.none()
    folder = registry.package(champion)
    info = read_info(folder)
    if not info.backbone:
        raise NothingToLearnError(
            f"wanted a champion with a frozen backbone, whose answers can teach another head, found version {champion}, whose features were "
            "trained too; retrain it by hand, with pictures that were kept (data.kept)"
        )
    database = open_database(workspace, settings.database)
    labelled = database.labelled(model_name, newest=READ_PER_LABEL * settings.max_labels)
    recent = database.predictions(model_name, newest=settings.reference_answers)
    said = labelled[labelled["model_version"] == champion].tail(MAX_TOLD)
    answers = database.answers(model_name, newest=MAX_ANSWERS, since=float(said["time"].min()) - 1 if len(said) else 0.0)
    database.close()
    labelled, recent = _seen_alike(registry, info, labelled, recent)
    if settings.imitation is not None:
        return imitate(pictures, recent, info.backbone, settings.imitation, workspace)
    taught = pictures.of_split("train")
    known = known_features(pictures, taught, info.backbone, workspace), pictures.targets(taught)
    source = info.backbone, info.side_pixels
    inside, scene = set(pictures.table["sha256"]), scene_distance_of(folder)
    experience = collect_feedback(labelled, recent, known, pictures.class_names, source, settings, scene, inside)
    mine = answers[answers["model_version"] == champion]
    experience = replace(experience, bias=measure_truth(mine, with_scenes(said, scene), TruthSettings()).bias)
    if suspicion := experience.suspicion(settings):
        raise SuspiciousLabelsError(suspicion)
    usable = experience.labelled[experience.labelled["role"] != "quarantined"]
    num_scenes, judging = usable["scene"].nunique(), experience.of_role("held_back")["scene"].nunique()
    if num_scenes < settings.fewest_scenes or judging < MIN_JUDGING:
        raise NothingToLearnError(
            f"wanted labels of {settings.min_labels} pictures that do not show the same scene, {MIN_JUDGING} of them to judge by, found {len(labelled)} "
            f"labels, {len(usable)} of them usable, of {num_scenes} scenes, {judging} of which judge; wait for more"
        )
    return experience


def _seen_alike(registry: ModelRegistry, wanted: PackageInfo, *tables: pd.DataFrame) -> list[pd.DataFrame]:
    """Of each table the answers with an embedding by the same backbone."""
    seen = sorted({version for table in tables for version in table["model_version"]})
    infos = {version: read_info(registry.package(version)) for version in seen}
    alike = [
        version
        for version, info in infos.items()
        if (info.backbone, info.side_pixels, info.preprocessing_version)
        == (wanted.backbone, wanted.side_pixels, PREPROCESSING_VERSION)
    ]
    return [table[table["model_version"].isin(alike) & table["embedding"].notna()] for table in tables]


def roles_of(request_ids: list[str], settings: ExperienceSettings, model_name: str, workspace: Workspace) -> dict[str, str]:
    """What the pictures of these requests are for, as far as their answers are known: what the labelled pictures of their scene are for."""
    registry = ModelRegistry(model_name)
    champion = registry.champion()
    if champion is None:
        return {}
    folder = registry.package(champion)
    database = open_database(workspace, settings.database)
    labelled = database.labelled(model_name, newest=READ_PER_LABEL * settings.max_labels)
    asked = database.answers_to(request_ids)
    database.close()
    labelled, asked = _seen_alike(registry, read_info(folder), labelled, asked)
    _, found = in_scenes(scene_distance_of(folder), labelled, asked)
    return {row.request_id: role_of(row.scene, settings.held_back) for row in found.itertuples()}


def labels_state(settings: ExperienceSettings, model_name: str, workspace: Workspace) -> str:
    """Another value when a label came or another version became the champion, whose embeddings are asked for: for the cache, which
    cannot look into the database.
    """
    if not settings.enabled:
        return "none"
    database = open_database(workspace, settings.database)
    words = ",".join([str(ModelRegistry(model_name).champion()), *database.last_words(model_name)])
    database.close()
    return hashlib.sha256(words.encode()).hexdigest()[:16]
