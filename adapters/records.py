"""Where the records of what serves lie, and what a training takes from them."""

import hashlib
import os

from adapters.registry import ModelRegistry
from classifier.data.prepared import PreparedPictures
from classifier.errors import ImageLoopError
from classifier.model.package import read_info
from classifier.model.preprocessing import PREPROCESSING_VERSION
from classifier.monitoring.settings import ExperienceSettings
from classifier.training.experience import Experience, gather
from classifier.training.features import known_features
from classifier.training.imitation import imitate
from classifier.workspace import Workspace
from records.store.database import DATABASE_VARIABLE, Database

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
    info = read_info(registry.package(champion))
    if not info.backbone:
        raise NothingToLearnError(
            f"wanted a champion with a frozen backbone, whose answers can teach another head, found version {champion}, whose features were "
            "trained too; retrain it by hand, with pictures that were kept (data.kept)"
        )
    database = open_database(workspace, settings.database)
    labelled = database.labelled(model_name, newest=READ_PER_LABEL * settings.max_labels)
    recent = database.predictions(model_name, newest=settings.reference_answers)
    database.close()
    seen = sorted({*labelled["model_version"], *recent["model_version"]})
    alike = [version for version in seen if _sees_alike(registry, version, info.backbone, info.side_pixels)]
    labelled, recent = (table[table["model_version"].isin(alike) & table["embedding"].notna()] for table in (labelled, recent))
    if settings.imitation is not None:
        return imitate(pictures, recent, info.backbone, settings.imitation, workspace)
    labelled = labelled[~labelled["sha256"].isin(pictures.table["sha256"])]  # those teach or judge already
    taught = pictures.of_split("train")
    known = known_features(pictures, taught, info.backbone, workspace), pictures.targets(taught)
    experience = gather(labelled, recent, known, pictures.class_names, (info.backbone, info.side_pixels), settings)
    if suspicion := experience.suspicion(settings):
        raise SuspiciousLabelsError(suspicion)
    usable, judging = int((experience.labelled["role"] != "quarantined").sum()), len(experience.of_role("held_back"))
    if usable < settings.min_labels * (1 - settings.max_quarantined) or not judging:
        raise NothingToLearnError(
            f"wanted {settings.min_labels} labels of different pictures, some of them to judge by, found {usable} usable ones of {len(labelled)}, "
            f"{judging} of them to judge by; wait for more"
        )
    return experience


def _sees_alike(registry: ModelRegistry, version: str, backbone: str, side: int) -> bool:
    info = read_info(registry.package(version))
    return (info.backbone, info.side_pixels, info.preprocessing_version) == (backbone, side, PREPROCESSING_VERSION)


def labels_state(settings: ExperienceSettings, model_name: str, workspace: Workspace) -> str:
    """Another value when a label came: for the cache, which cannot look into the database."""
    if not settings.enabled:
        return "none"
    database = open_database(workspace, settings.database)
    words = ",".join(database.last_words(model_name))
    database.close()
    return hashlib.sha256(words.encode()).hexdigest()[:16]
