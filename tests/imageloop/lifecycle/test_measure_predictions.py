import numpy as np
import pandas as pd
import pytest

from imageloop.embeddings.drift_samples import with_scenes
from imageloop.lifecycle.feedback_for_training import open_database
from imageloop.lifecycle.measure_predictions import _since_attempt, decide_and_keep, num_scenes
from imageloop.monitoring.measurement import Measurement
from imageloop.monitoring.model_performance import measure_performance
from imageloop.monitoring.settings import DecisionSettings, MonitoringSettings, PerformanceSettings
from imageloop.records.record_types import FeedbackRecord, PredictionRecord
from imageloop.records.store.database import Decision
from tests.imageloop.monitoring.test_decisions import predictions_of
from tests.imageloop.records.store.test_database import ground_truth, prediction

SETTINGS = MonitoringSettings(decision=DecisionSettings(every_hours=1, cool_down_minutes=0, labels_after_failure=3))


@pytest.fixture
def database(workspace):
    opened = open_database(workspace)
    yield opened
    opened.close()


def decide_with(workspace, **metrics) -> str:
    nothing = predictions_of([])
    usual = {"num_labels": 100, "new_labels": 100, "usable_labels": 100, "labels_since": 0} | metrics
    measured = Measurement(
        model_name="imageloop", version="1", made_at=0.0, windows=[], num_new=0, performance=measure_performance(nothing, nothing, PerformanceSettings()),
        orphans=0, **usual,
    )  # fmt: skip
    return decide_and_keep(measured, SETTINGS, 20, workspace).reason


def test_a_failure_is_remembered_after_many_notifications(database, workspace):
    database.decide("imageloop", Decision("failed", 1.0, "retrain", "old", {"labels": 100}, "refused: worse"))
    for number in range(60):
        database.decide("imageloop", Decision(f"older-{number}", 2.0 + number, "alert", f"{number} minutes ago", {}, ""))

    assert "did not help (refused: worse), and only 2 labels came since" in decide_with(workspace, labels_since=2)
    assert "did not help" not in decide_with(workspace, labels_since=3)


def test_frames_of_a_scene_count_as_one_label_and_unread_ones_as_none():
    scenes = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float16)
    labels = predictions_of([True] * 60, embedding=[row.tobytes() for row in np.repeat(scenes, 20, 0)])
    earlier = predictions_of([True] * 5, model_version="0").assign(request_id=[f"earlier-{n}" for n in range(5)])

    assert num_scenes(pd.concat([earlier, labels]), with_scenes(labels, 0.1), "1") == 5 + 3
    assert num_scenes(labels, with_scenes(labels.tail(30), 0.1), "1") == 2
    assert num_scenes(labels.head(0), with_scenes(labels.head(0), 0.1), "1") == 0


def test_new_labels_are_counted_where_as_many_old_ones_are_forgotten(database, workspace):
    predictions = [PredictionRecord.model_validate(prediction(number, model_name="imageloop")) for number in range(3)]
    words = [FeedbackRecord.model_validate(ground_truth(number, "dog")) for number in range(3)]
    database.keep("records.jsonl", 0, 1, [*predictions, *words])
    labels = database.labels("imageloop")
    last = labels["feedback_time"].max()

    for tried_at, expected in ((last - 1e6, 3), (last, 0)):
        database.decide("imageloop", Decision(f"failed-{expected}", tried_at, "retrain", "old", {}, "refused: worse"))
        assert len(_since_attempt(database, "imageloop", labels)) == expected
    assert database.newest_label_ids("imageloop") == database.labelled("imageloop")["feedback_id"].tolist()
