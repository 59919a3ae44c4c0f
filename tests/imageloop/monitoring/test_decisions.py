"""Which decision is made in which situation, and that poisoned labels are distinguished from drift."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from imageloop.monitoring.decision_input import Attempt, DecisionInput
from imageloop.monitoring.decisions import decide
from imageloop.monitoring.drift import FeatureGroup, Histogram
from imageloop.monitoring.findings import accuracy_threshold
from imageloop.monitoring.measurement import Measurement
from imageloop.monitoring.model_performance import ModelPerformance, measure_performance
from imageloop.monitoring.monitoring_report import monitoring_report, verdict_report
from imageloop.monitoring.settings import DecisionSettings, PerformanceSettings
from imageloop.monitoring.windows import Window

NOW = 1_000_000.0
SETTINGS = DecisionSettings(min_accuracy=0.85)


def window(*, alarm: bool = False, loss: float = 0.0, out_of_distribution: bool = False, end: float = NOW) -> Window:
    feature_groups = [FeatureGroup("sharpness", 0.002 if alarm else 0.5, 10.0, 4.0 if alarm else 9.9)]
    return Window(
        "1",
        end - 60,
        end,
        100,
        0.002 if alarm else 0.5,
        alarm,
        feature_groups,
        0.95 - loss,
        0.95,
        0.4 if out_of_distribution else 0.01,
        out_of_distribution,
        {"cat": 100},
    )


def performance(right: int = 0, count: int = 0, bias: str | None = None) -> ModelPerformance:
    labels = [True] * right + [False] * (count - right)
    found = measure_performance(predictions_of(labels), predictions_of(labels), PerformanceSettings())
    return ModelPerformance(found.count, found.accuracy, found.low, found.high, found.coverage, bias, found.parts)


def situation(**changes) -> DecisionInput:
    usual = {
        "now": NOW, "windows": [window()] * 3, "performance": performance(), "num_labels": 0, "new_labels": 0, "usable_labels": 500,
        "trained_at": NOW - 3600, "attempts": [],
    }  # fmt: skip
    return DecisionInput(**usual | changes)


def predictions_of(right: list[bool], confidence: float = 0.8, **columns) -> pd.DataFrame:
    count = len(right)
    return pd.DataFrame(
        {
            "request_id": [f"r{n}" for n in range(count)], "time": np.arange(count, dtype=float), "label": "cat", "confidence": confidence,
            "ground_truth": np.where(right, "cat", "dog") if count else [], "model_version": "1", "feedback_source": "http", "scene": range(count), "typical": True,
            "feedback_time": np.arange(count, dtype=float), "statistics": [{"brightness": float(n), "sharpness": float(n)} for n in range(count)],
        } | columns
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "action", "words"),
    [
        ({"windows": []}, "no_data", "no whole window"),
        ({}, "nothing", "nothing has changed"),
        ({"windows": [window(), window(), window(alarm=True, loss=0.2)]}, "nothing", "nothing"),
        (
            {"windows": [window(), window(alarm=True, loss=0.2), window(alarm=True, loss=0.2)]},
            "retrain",
            "2 of the last 3 windows drifted",
        ),
        ({"windows": [window(alarm=True, loss=0.001)] * 3}, "alert", "by estimate with little harm"),
        ({"windows": [window(out_of_distribution=True)] * 3}, "alert", "out of distribution"),
        ({"performance": performance(60, 100), "num_labels": 100}, "retrain", "accuracy 60.0%"),
        ({"performance": performance(60, 100, "only complaints"), "num_labels": 100}, "alert", "only complaints"),
        ({"performance": performance(95, 100), "num_labels": 100}, "nothing", "nothing"),
        ({"performance": performance(5, 10), "num_labels": 10}, "nothing", "nothing"),
    ],
)
def test_measurements_lead_to_decision(changes, action, words):
    verdict = decide(situation(**changes), SETTINGS, labels_needed=20)

    assert verdict.action == action
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("changes", "labels_needed", "explanation"),
    [
        (
            {"windows": [], "num_predictions": 41, "window_size": 200},
            20,
            "41 predictions and no label came so far, and a comparison with the training images takes 200 predictions. Nothing has to be done: the monitor "
            "decides when there are more.",
        ),
        (
            {"performance": performance(95, 100), "num_labels": 100},
            20,
            "The last 100 images look like those that the model was trained on, and 95% of the newest 100 images with a label were predicted right. Nothing has to be "
            "done.",
        ),
        (
            {"windows": [window(end=NOW - 8 * 86_400)] * 3},
            20,
            "The last 100 images, which came 8 days ago, look like those that the model was trained on. Nothing has to be done.",
        ),
        (
            {"windows": [window(end=NOW + 7200)] * 3},
            20,
            "The service's clock is ahead of this one, so new predictions are not compared: set both right. The monitor only alerts: look at the newest "
            "images, and label some of them to learn more.",
        ),
        (
            {"windows": [window(), window(), window(alarm=True)]},
            20,
            "The newest images differ from those that the model was trained on, most clearly in their sharpness, as now and then happens by chance: more "
            "windows decide. Nothing has to be done.",
        ),
        (
            {"windows": [window(alarm=True, loss=0.2)] * 3},
            20,
            "The newest images differ from those that the model was trained on, most clearly in their sharpness, and by estimate 75% of the predictions "
            "are right instead of 95%. A new version is trained on what can be believed of 500 labels, and serves only if it is better on labels that it was not trained on.",
        ),
        (
            {"windows": [window(alarm=True, loss=0.001)] * 3},
            20,
            "The newest images differ from those that the model was trained on, most clearly in their sharpness, but by estimate hardly fewer "
            "predictions are right than usual. The monitor only alerts: look at the newest images, and label some of them to learn more.",
        ),
        (
            {"performance": performance(60, 100), "num_labels": 100, "usable_labels": 12},
            60,
            "Of the last 100 images with a label 60% were predicted right, and at least 85% are expected. It is not retrained: there is nothing new to "
            "learn from: 12 usable labels, 60 needed.",
        ),
    ],
)
def test_a_decision_is_explained_in_two_sentences(changes, labels_needed, explanation):
    assert decide(situation(**changes), SETTINGS, labels_needed).explanation == explanation


DAMAGE = {"windows": [window(alarm=True, loss=0.2)] * 3}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"usable_labels": 3}, "nothing new to learn from"),
        ({"attempts": [Attempt(NOW - 60, "promoted: version 2")]}, "UTC, and 30 minutes must pass"),
        ({"attempts": [Attempt(NOW - 60, None)]}, "one is under way"),
        ({"attempts": [Attempt(NOW - 7200 - n, "promoted") for n in range(6)]}, "6 within a day are the maximum"),
        ({"attempts": [Attempt(NOW - 7200, "refused: worse")], "labels_since": 20}, "did not help"),
    ],
)
def test_a_retraining_can_be_ruled_out(changes, words):
    verdict = decide(situation(**DAMAGE | changes), SETTINGS, labels_needed=20)

    assert verdict.action == "alert"
    assert words in verdict.reason


def test_after_a_useless_retraining_enough_new_labels_start_another():
    attempts = [Attempt(NOW - 7200, "refused: worse")]

    assert decide(situation(**DAMAGE, attempts=attempts, labels_since=50), SETTINGS, 20).action == "retrain"


def test_a_setting_with_fewer_windows_than_alarms_is_refused():
    with pytest.raises(ValueError, match="violated_windows"):
        DecisionSettings(violated_windows=4, of_windows=3)


def test_without_labels_a_change_that_calls_for_drift_augmentation():
    damaged = {"windows": [window(alarm=True, loss=0.2)] * 3, "usable_labels": 5}
    may = DecisionSettings(drift_augmentation=True)

    assert decide(situation(**damaged), SETTINGS, 20).action == "alert"
    found = decide(situation(**damaged), may, 20)
    assert (found.action, found.metrics["drift_augmentation"]) == ("retrain", {"sharpness": 0.4})
    assert "drift augmentation" in found.reason
    assert (
        decide(situation(**damaged | {"usable_labels": 50}), may, 20).metrics["drift_augmentation"] is None
    )  # labels are better


def test_a_change_that_the_statistics_do_not_show_gets_no_drift_augmentation():
    other = replace(
        window(alarm=True, loss=0.2),
        feature_groups=[FeatureGroup("what they show", 0.001, None, None), FeatureGroup("sharpness", 0.5, 10.0, 9.9)],
    )

    assert (
        decide(situation(windows=[other] * 3, usable_labels=5), DecisionSettings(drift_augmentation=True), 20).action == "alert"
    )


def test_a_schedule_and_waiting_labels_are_reasons_where_they_are_set():
    scheduled, waiting = DecisionSettings(every_hours=0.5), DecisionSettings(new_labels=100)

    assert "older than 0.5 hours" in decide(situation(), scheduled, 20).reason
    assert "150 new labels came" in decide(situation(new_labels=150, num_labels=150), waiting, 20).reason
    assert decide(situation(new_labels=50, num_labels=50), waiting, 20).action == "nothing"


def test_a_reason_does_not_change_with_the_clock_alone():
    """Otherwise each monitoring run would notify and store it again."""
    tried = [Attempt(NOW - 60, "promoted: version 2")]

    assert (
        decide(situation(**DAMAGE, attempts=tried), SETTINGS, 20).reason
        == decide(situation(**DAMAGE, attempts=tried, now=NOW + 120), SETTINGS, 20).reason
    )


@pytest.mark.parametrize(
    ("test_accuracy", "test_error", "expected"),
    [(0.95, 0.02, 0.90), (0.72, 0.02, 0.67), (0.95, 0.12, 0.83), (None, 0.0, None), (0.04, 0.02, None)],
)
def test_the_threshold_follows_from_the_test_images_of_the_champion(test_accuracy, test_error, expected):
    served = replace(situation(), test_accuracy=test_accuracy, test_error=test_error)

    assert accuracy_threshold(served, DecisionSettings()) == (expected if expected is None else pytest.approx(expected))
    assert accuracy_threshold(served, SETTINGS) == 0.85


def test_an_interval_of_few_labels_is_no_figure_that_an_alert_could_go_by():
    few, enough = situation(performance=performance(0, 1)), situation(performance=performance(30, 60))

    assert decide(few, SETTINGS, 20).metrics["accuracy_high"] is None
    assert decide(few, SETTINGS, 20).metrics["accuracy_threshold"] is None
    assert decide(enough, SETTINGS, 20).metrics["accuracy_threshold"] == SETTINGS.min_accuracy


def test_the_same_situation_gives_the_same_verdict():
    assert decide(situation(**DAMAGE), SETTINGS, 20) == decide(situation(**DAMAGE), SETTINGS, 20)


def test_accuracy_comes_with_its_interval_and_its_parts():
    found = measure_performance(
        predictions_of([True] * 80 + [False] * 20), predictions_of([True] * 80 + [False] * 20), PerformanceSettings()
    )

    assert (found.count, found.accuracy, found.coverage, found.bias) == (100, 0.8, 1.0, None)
    assert found.low < 0.8 < found.high
    kinds = {part.kind for part in found.parts}
    assert kinds == {"ground_truth", "model_version", "feedback_source", "slice", "until"}
    assert next(part for part in found.parts if (part.kind, part.name) == ("ground_truth", "dog")).accuracy == 0.0


def test_frames_of_a_scene_count_as_one_label_for_performance():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        frames = predictions_of(np.repeat(rng.random(40) < 0.9, 20).tolist(), scene=np.repeat(range(40), 20))
        found.append(measure_performance(frames, frames, PerformanceSettings()))

    assert {(one.count, one.coverage) for one in found} == {(40, 1.0)}
    assert sum(one.below(SETTINGS.min_accuracy) for one in found) <= 2
    assert measure_performance(frames.head(500), frames.head(500), PerformanceSettings()).accuracy is None  # of 25 scenes


def test_the_last_frame_of_a_scene_counts_for_performance():
    frames = predictions_of([True] * 400 + [False] * 400, scene=list(range(40)) * 20)

    assert measure_performance(frames, frames, PerformanceSettings()).accuracy == 0.0


def test_labels_at_random_are_no_bias_where_some_scenes_last_longer():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        lengths = rng.geometric(0.05, 80)
        confidence = np.repeat(0.6 + 0.4 * np.minimum(lengths / 60, 1), lengths)  # still scenes are surer
        frames = predictions_of([True] * len(confidence), confidence=confidence, scene=np.repeat(range(80), lengths))
        found.append(measure_performance(frames, frames[rng.random(len(frames)) < 0.3], PerformanceSettings()).bias)

    assert found == [None] * 20


def test_labels_of_whole_scenes_are_no_bias_either():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        confidence = np.repeat(rng.uniform(0.5, 1, 80), 20)
        frames = predictions_of([True] * 1600, confidence=confidence, scene=np.repeat(range(80), 20))
        labelled = frames[frames["scene"].isin(rng.choice(80, 40, replace=False))]
        found.append(measure_performance(frames, labelled, PerformanceSettings()).bias)

    assert found.count(None) >= 19


def test_labels_of_predictions_outside_the_window_prove_nothing():
    predictions = predictions_of([True] * 100).assign(time=np.arange(5000.0, 5100.0))

    assert measure_performance(predictions, predictions_of([True] * 60), PerformanceSettings()).bias is None


def test_windows_of_few_scenes_end_no_drift():
    still = [replace(window(), num_scenes=1)] * 5
    damaged = [window(alarm=True, loss=0.2)] * 2

    assert decide(situation(windows=damaged + still), SETTINGS, 20).action == "retrain"


def test_windows_that_suddenly_show_few_scenes_alert():
    usual = [replace(window(), num_scenes=90)] * 4
    repeating = [replace(window(), num_scenes=1)] * 3

    decision = decide(situation(windows=usual + repeating), SETTINGS, 20)

    assert (decision.action, "1% of the newest images show a new scene, instead of some 90%" in decision.reason) == (
        "alert",
        True,
    )
    assert decide(situation(windows=usual * 3 + repeating * 4), SETTINGS, 20).action == "alert"
    assert decide(situation(windows=repeating * 2), SETTINGS, 20).action == "nothing"
    assert decide(situation(windows=usual), SETTINGS, 20).action == "nothing"


def test_complaints_alone_are_no_sample():
    predictions = predictions_of([True] * 1000)
    complaints = predictions_of([False] * 40).assign(time=np.linspace(0, 999, 40))

    assert "complaints, not a sample" in measure_performance(predictions, complaints, PerformanceSettings()).bias


def test_labels_for_hard_images_alone_are_no_sample():
    rng = np.random.default_rng(0)
    predictions = predictions_of([True] * 1000, confidence=0.5 + 0.5 * rng.random(1000))
    hard = predictions[predictions["confidence"] < 0.7].head(60).assign(time=np.linspace(0, 999, 60))

    assert "by choice" in measure_performance(predictions, hard, PerformanceSettings()).bias


def test_late_labels_are_no_bias_and_a_few_at_random_are_none_either():
    rng = np.random.default_rng(0)
    predictions = predictions_of(list(rng.random(1000) < 0.9), confidence=0.5 + 0.5 * rng.random(1000))
    sample = predictions.iloc[np.sort(rng.choice(500, 100, replace=False))]  # of the older half: newer ones will get theirs later

    assert measure_performance(predictions, sample, PerformanceSettings()).bias is None


def test_labels_that_contradict_confident_predictions_are_poisoned():
    poisoned = predictions_of([False] * 60, confidence=0.97)
    drifted = poisoned.assign(typical=False)

    assert "poisoned" in measure_performance(poisoned, poisoned, PerformanceSettings()).bias
    assert (
        measure_performance(drifted, drifted, PerformanceSettings()).bias is None
    )  # honest labels say that of a model that drift broke


def test_reports_say_in_a_minute_what_changed_and_what_was_decided():
    windows = [window(end=NOW - 120), window(alarm=True, loss=0.2)]
    measurement = Measurement("pets", "1", NOW - 9999, windows, 1, performance(60, 100), 100, 100, 100, 100, 0)
    verdict = decide(situation(windows=windows), SETTINGS, 20)

    page, decision = monitoring_report(measurement), verdict_report(verdict)

    assert "The images drifted, since 1970-01-12 13:45:40 UTC: sharpness first" in page
    assert "estimated at 75.0%; on images as usual it is 95.0%" in page
    assert "With 100 labels, one a scene, it is 60.0%" in page
    assert "Decision: nothing" in decision
    assert Measurement.of_dict(measurement.as_dict()) == measurement
    assert "<svg" not in page
    seen = replace(windows[1], histograms={"brightness": Histogram([0.0, 100.0, 200.0], [0.25, 0.75], [1.0, 0.0])})
    drawn = monitoring_report(replace(measurement, windows=[seen]))
    assert "Before (grey) and now (blue)" in drawn
    assert drawn.count("<rect") == 4
    assert "brightness of 255: 0 to 200" in drawn
    assert Window.of_metrics(seen.metrics()) == seen
    filmed = replace(windows[0], num_scenes=3)
    assert "that 100 predictions of 3 scenes could show" in monitoring_report(replace(measurement, windows=[filmed]))
    assert "There is no whole window" in monitoring_report(Measurement("pets", "1", 0.0, [], 0, performance(), 0, 0, 0, 0, 0))


def test_an_estimate_is_shown_with_its_interval_and_none_is_shown_where_it_says_nothing():
    drifted = window(alarm=True, loss=0.3)
    narrow, wide = (
        replace(drifted, estimated_low=0.5, estimated_high=0.8),
        replace(drifted, estimated_low=0.2, estimated_high=1.0),
    )

    shown, hidden = (decide(situation(windows=[one] * 3), SETTINGS, 20) for one in (narrow, wide))

    assert "accuracy is estimated at 65.0% (50% to 80%) instead of 95.0%" in shown.reason
    assert (shown.metrics["estimated_low"], shown.metrics["estimated_accuracy"]) == (0.5, pytest.approx(0.65))
    assert "too unlike the known ones for an estimate of accuracy: label some of them" in hidden.reason
    assert hidden.metrics["estimated_accuracy"] is None
    assert {shown.action, hidden.action} == {"retrain"}


def test_a_good_enough_model_raises_no_alarm_over_many_monitoring_runs():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(40):
        right = (rng.random(1000) < SETTINGS.min_accuracy).tolist()
        found += any(performance(sum(right[at - 200 : at]), 200).below(SETTINGS.min_accuracy) for at in range(200, 1001, 50))

    assert found <= 2
    assert performance(150, 200).below(SETTINGS.min_accuracy)


def test_half_of_all_predictions_labelled_by_choice_are_biased_too():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 400)
    predictions = predictions_of((rng.random(400) < confidence).tolist(), confidence=confidence)
    chosen = predictions.sort_values("confidence").head(220)

    assert "by choice" in measure_performance(predictions, chosen, PerformanceSettings(max_labels=400)).bias
