"""Measure what is new in the database of records, and store the decision."""

import time
import uuid
from contextlib import closing
from pathlib import Path

import pandas as pd

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.embeddings.accuracy_estimator import AccuracyEstimator
from imageloop.embeddings.drift_samples import frozen_scene_distance, read_reference, with_scenes, with_typical
from imageloop.embeddings.novelty import Novelty
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.feedback_for_training import open_database
from imageloop.model.package import read_info
from imageloop.model.served_versions import registered_version
from imageloop.monitoring.decision_input import Attempt, DecisionInput
from imageloop.monitoring.decisions import Verdict, decide
from imageloop.monitoring.findings import violated_windows
from imageloop.monitoring.measurement import Measurement
from imageloop.monitoring.model_performance import measure_performance
from imageloop.monitoring.settings import DecisionSettings, MonitoringSettings
from imageloop.monitoring.windows import Window, drifting_since, measure_window
from imageloop.records.store.database import Database, Decision
from imageloop.workspace_paths import Workspace

MAX_NEW_WINDOWS = 20  # in one monitoring run; older ones say nothing about now
NUM_WINDOWS = 50
FRAMES_READ = (5, 20)  # of a scene, on average, for each label that counts: at first, and where these show too few scenes
MAX_READ = 5_000  # labels in one monitoring run, with their embeddings
NUM_ATTEMPTS = 50


def measure(settings: MonitoringSettings, labels_needed: int, version: str | None, workspace: Workspace) -> Measurement:
    """Cut new predictions into windows, measure them, and compare labels with predictions.

    Raises: ImageLoopError where no version serves.
    """
    registry = ModelRegistry(settings.model_name)
    serving = version or registry.champion()
    if serving is None:
        raise ImageLoopError(
            f"expected a version of '{settings.model_name}' that serves, got none; run: python run.py deploy --model {settings.model_name}"
        )
    folder = registry.package(registered_version(serving))
    info = read_info(folder)
    with closing(open_database(workspace, settings.database)) as database:
        novelty, estimator = Novelty.read(folder), AccuracyEstimator.read(folder)
        scene = frozen_scene_distance(novelty, info)
        num_new = _new_windows(database, settings, serving, folder, info.class_names, scene, estimator)
        windows = stored_windows(database, settings.model_name, NUM_WINDOWS, serving)
        predictions = database.recent_predictions(settings.model_name, settings.keep_records)
        labels = database.labels(settings.model_name)
        newest = newest_labelled(database, settings, labels_needed, serving, scene)
        made_at = info.created_at.timestamp()
        of_version = predictions[predictions["model_version"] == serving]
        new = labels["feedback_time"] > made_at
        usable = new & labels["teaches"].astype(bool) & labels["ground_truth"].isin(info.class_names)
        usable &= labels["time"] >= (_drift_began(windows, settings.decision) or 0.0)
        return Measurement(
            model_name=settings.model_name,
            version=serving,
            made_at=made_at,
            windows=windows,
            num_new=num_new,
            performance=measure_performance(
                of_version,
                with_typical(newest, novelty),
                settings.performance,
                (estimator.known.embeddings_MD, estimator.known.classes_M) if estimator else None,
                info.class_names,
            ),
            num_labels=len(labels),
            new_labels=num_scenes(labels[new], newest, serving),
            usable_labels=num_scenes(labels[usable], newest, serving),
            labels_since=num_scenes(_since_attempt(database, settings.model_name, labels), newest, serving),
            orphans=database.orphans(),
            test_accuracy=info.metrics.get("accuracy"),
            test_error=(info.metrics.get("accuracy_high", 1.0) - info.metrics.get("accuracy_low", 0.0)) / 2,
            num_predictions=len(of_version),
        )


def _drift_began(windows: list[Window], settings: DecisionSettings) -> float | None:
    """The start of a drift that as many windows show as a decision takes; one alone may be a false alarm, and makes no label useless."""
    return drifting_since(windows) if len(violated_windows(windows, settings)) >= settings.violated_windows else None


def stored_windows(database: Database, model_name: str, newest: int, version: str | None = None) -> list[Window]:
    """The newest windows of a model or of one of its versions, the oldest of them first."""
    rows = database.windows(model_name, newest, version)
    return [Window.of_metrics({name: row[name] for name in Window.__dataclass_fields__ if name in row}) for row in rows]


def newest_labelled(
    database: Database, settings: MonitoringSettings, labels_needed: int, version: str, scene_distance: float
) -> pd.DataFrame:
    """The newest labelled predictions of a version: enough scenes for every setting, or the maximum of one monitoring run."""
    decision = settings.decision
    needed = max(settings.performance.max_labels, labels_needed, decision.new_labels or 0, decision.labels_after_failure)
    for frames in FRAMES_READ:
        newest = max(needed, min(frames * needed, MAX_READ))
        found = with_scenes(database.labelled(settings.model_name, version=version, newest=newest), scene_distance)
        if len(found) < newest or found["scene"].nunique() >= needed:
            break
    return found


def _since_attempt(database: Database, model_name: str, labels: pd.DataFrame) -> pd.DataFrame:
    """The labels that came since the last attempt to retrain."""
    tried = database.decisions(model_name, 1, "retrain")
    return labels[labels["feedback_time"] > (tried[-1].time if tried else 0.0)]


def num_scenes(labels: pd.DataFrame, newest: pd.DataFrame, version: str) -> int:
    """The number of scenes of labelled predictions, as far as the newest of a version show; those of other versions count one by one."""
    labelled_here = newest[newest["request_id"].isin(labels["request_id"])]
    return int((labels["model_version"] != version).sum() + labelled_here["scene"].nunique())


def decide_and_keep(measurement: Measurement, settings: MonitoringSettings, labels_needed: int, workspace: Workspace) -> Verdict:
    """Decide, and store the decision. A retraining is stored before it begins, so that a kill does not lose it."""
    with closing(open_database(workspace, settings.database)) as database:
        retrained = database.decisions(settings.model_name, max(NUM_ATTEMPTS, settings.decision.max_a_day), "retrain")
        attempts = [Attempt(one.time, one.outcome) for one in retrained]
        now = time.time()
        situation = DecisionInput(
            now, measurement.windows, measurement.performance, measurement.num_labels, measurement.new_labels, measurement.usable_labels,
            measurement.made_at, attempts, measurement.labels_since, measurement.test_accuracy, measurement.test_error,
            measurement.num_predictions, settings.drift.window,
        )  # fmt: skip
        verdict = decide(situation, settings.decision, labels_needed)
        outcome = None if verdict.action == "retrain" else ""
        before = database.decisions(settings.model_name, 1)
        last = before[-1] if before else None
        if verdict.action == "retrain" or last is None or (last.action, last.reason) != (verdict.action, verdict.reason):
            database.decide(
                settings.model_name, Decision(uuid.uuid4().hex, now, verdict.action, verdict.reason, verdict.metrics, outcome)
            )
        return verdict


def _new_windows(
    database: Database,
    settings: MonitoringSettings,
    version: str,
    folder: Path,
    class_names: list[str],
    scene_distance: float,
    estimator: AccuracyEstimator | None,
) -> int:
    size = settings.drift.window
    measured = stored_windows(database, settings.model_name, 1, version)
    since = measured[-1].end if measured else 0.0
    ids = database.measurable(settings.model_name, version, since, size * (MAX_NEW_WINDOWS + 1))
    whole = min(len(ids) // size, MAX_NEW_WINDOWS)
    if not whole:
        return 0
    reference = read_reference(folder, class_names, scene_distance)
    first = len(ids) // size * size - whole * size
    for start in range(first, first + whole * size, size):
        records = database.predictions_for(
            ids[start : start + size]
        )  # one window at a time: of many classes each takes megabytes
        window = measure_window(records, reference, class_names, settings.drift, scene_distance, estimator)
        database.keep_window(settings.model_name, version, window.start, window.end, window.metrics())
    return whole
