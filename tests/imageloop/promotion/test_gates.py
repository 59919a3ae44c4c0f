import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imageloop.intervals import wilson
from imageloop.promotion.champion_comparison import BestChampion, Champion, RecentComparison
from imageloop.promotion.evaluation import describe
from imageloop.promotion.evaluation_charts import confusion_figure, png_of, roc_figure
from imageloop.promotion.evaluation_report import evaluation_report, label_issues_report, verdict_report
from imageloop.promotion.gates import _worst_recall, judge, lowered_gates
from imageloop.promotion.settings import GateSettings
from imageloop.training.classification_metrics import score

NAMES = ["cat", "dog"]


def predictions_with(right_share: float, count=200, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = np.array(NAMES)[np.arange(count) % 2]
    right = np.arange(count) < right_share * count
    rng.shuffle(right)
    predicted = np.where(right, labels, np.where(labels == "cat", "dog", "cat"))
    confidence = np.full(count, 0.9)
    p_cat = np.where(predicted == "cat", 0.9, 0.1)
    return pd.DataFrame(
        {
            "sha256": [f"{i}" for i in range(count)], "path": [f"{i}.jpg" for i in range(count)], "label": labels, "width": 300, "height": 200,
            "predicted": predicted, "confidence": confidence, "right": right, "p_cat": p_cat, "p_dog": 1 - p_cat,
        }
    )  # fmt: skip


def evaluation(right_share: float, seed=0):
    predictions = predictions_with(right_share, seed=seed)
    statistics = np.random.default_rng(1).random((len(predictions), 4)).astype(np.float32)
    return describe(predictions, NAMES, statistics, milliseconds=2.0, package_bytes=10 * 2**20, precision="int8")


def test_the_first_model_passes_without_a_champion_to_compare():
    verdict = judge(evaluation(0.95), None, GateSettings())

    assert verdict.passed
    assert "first model" in verdict.sentence()


def test_a_worse_model_is_refused_and_as_good_a_one_passes():
    champion = Champion("3", NAMES, predictions_with(0.98, seed=1))

    worse, alike, below = (judge(evaluation(share), champion, GateSettings()) for share in (0.85, 0.98, 0.97))

    assert worse.decision == "rollback"
    assert "minus the champion's" in worse.sentence()
    assert alike.passed
    assert "not worse than champion 3" in alike.sentence()
    assert below.decision == "hold"
    assert "too few to decide: about 1," in below.sentence()


def test_a_version_below_the_best_champion_of_the_same_images_awaits_approval():
    champion = Champion("3", NAMES, predictions_with(0.93, seed=1), best=BestChampion("2", 0.98))

    verdict = judge(evaluation(0.95), champion, GateSettings())

    assert verdict.decision == "hold"
    assert "minus that of version 2, the best champion on these test images -0.030" in verdict.sentence()
    assert judge(evaluation(0.98), champion, GateSettings()).passed


@pytest.mark.parametrize(("better", "worse", "passed"), [(12, 1, True), (0, 0, False), (5, 5, False), (1, 9, False)])
def test_a_retrained_model_must_be_better_where_the_service_was_corrected(better, worse, passed):
    candidate, champion = np.ones(100, bool), np.ones(100, bool)
    champion[:better], candidate[better : better + worse] = False, False

    verdict = judge(evaluation(0.95), None, GateSettings(), RecentComparison(candidate, champion, np.arange(len(candidate))))

    assert verdict.passed is passed
    assert "recent labelled predictions" in verdict.checks[-1].name


def test_a_hundred_frames_of_three_scenes_are_three_observations():
    champion, scenes = np.ones(100, bool), np.arange(100) // 25
    champion[:75] = False
    found = RecentComparison(np.ones(100, bool), champion, scenes)

    verdict = judge(evaluation(0.95), None, GateSettings(), found)

    assert not verdict.passed
    assert "100 of 4 scenes, 3 better and 0 worse, p = 0.12" in verdict.checks[-1].got


@pytest.mark.parametrize(("gone", "decision"), [(0, "advance"), (20, "hold")])
def test_images_that_are_gone_count_against_a_retrained_model_and_refuse_nothing(gone, decision):
    champion = np.arange(100) >= 12
    found = RecentComparison(np.ones(100, bool), champion, np.arange(100), num_gone=gone)

    verdict = judge(evaluation(0.95), None, GateSettings(), found)

    assert verdict.decision == decision
    assert ("20 right ones of the champion whose image was not retained" in verdict.checks[-1].got) is bool(gone)


def test_all_attempts_against_one_champion_share_the_p_value():
    champion = np.arange(100) >= 5
    found = RecentComparison(np.ones(100, bool), champion, np.arange(100))

    assert judge(evaluation(0.95), None, GateSettings(), found).passed  # p = 0.03
    assert not judge(evaluation(0.95), None, GateSettings(), replace(found, attempt=3)).passed


def test_a_retrained_model_that_cannot_be_compared_does_not_pass():
    verdict = judge(evaluation(0.95), None, GateSettings(), RecentComparison.impossible())

    assert not verdict.passed
    assert "another backbone" in verdict.sentence()


def test_a_champion_of_other_classes_cannot_be_compared():
    verdict = judge(evaluation(0.95), Champion("3", ["ant", "dog"], None), GateSettings())

    assert verdict.decision == "hold"
    assert "classes differ from the champion's: added 'cat' and removed 'ant'" in verdict.sentence()
    trained_on_all = judge(evaluation(0.95), Champion("3", NAMES, None), GateSettings())
    assert trained_on_all.decision == "hold"
    assert "champion 3 was trained on all of them" in trained_on_all.sentence()


@pytest.mark.parametrize(
    ("share", "decision", "words"),
    [
        (0.95, "advance", "passed 5 gates"),
        (0.53, "hold", "above 0.5, the share of 'cat'"),
        (0.45, "rollback", "refused: accuracy 0.45"),
    ],
)
def test_without_a_threshold_a_model_must_beat_the_largest_class_by_more_than_chance(share, decision, words):
    verdict = judge(evaluation(share), None, GateSettings(min_class_recall=0, max_calibration_error=1))

    assert verdict.decision == decision
    assert words in verdict.sentence()


def test_gates_that_are_lower_than_the_champions_are_named():
    champions = GateSettings(min_accuracy=0.8)

    assert lowered_gates(champions, champions) == ""
    assert lowered_gates(GateSettings(champion_margin=0.5), champions) == (
        "min_accuracy None instead of 0.8, champion_margin 0.5 instead of 0.01"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_accuracy": 0.99}, "accuracy 0.95"),
        ({"min_class_recall": 0.99}, "the worst class"),
        ({"max_calibration_error": 0.0}, "calibration error"),
        ({"max_package_megabytes": 5}, "package size in MB 10"),
        ({"max_milliseconds_per_image": 1}, "milliseconds an image 2"),
    ],
)
def test_each_gate_refuses_with_expected_and_got(settings, words):
    verdict = judge(evaluation(0.95), None, GateSettings(**settings))

    assert not verdict.passed
    assert words in verdict.sentence()
    assert "FAILED" in verdict_report(verdict)


def test_the_interval_of_a_share_is_wilsons():
    low, high = wilson(95, 100)

    assert np.allclose((low, high), (0.8883, 0.9785), atol=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_report_shows_figures_slices_and_mistakes():
    figures = evaluation(0.9)
    read_image = lambda sha256: np.zeros((32, 32, 3), np.uint8)

    page = evaluation_report(figures, read_image)

    assert "90.0% of 200 test images" in page
    assert {part.name for part in figures.slices} == {"dark", "bright", "blurred", "small"}
    assert page.count("image/png") == 3
    assert page.count("<figure>") == 20
    issues = pd.DataFrame({"path": ["a.jpg"], "label": ["cat"], "suggested": ["dog"], "quality": [0.01], "sha256": ["1"]})
    assert "rather &#x27;dog&#x27;" in label_issues_report(issues, read_image)


@pytest.mark.parametrize(
    "names", [["US$1_$2", "$_$"], [f"class {n}" for n in range(60)]], ids=["names of mathematics", "many classes"]
)
def test_charts_are_drawn_of_any_classes(names):
    table = predictions_with(0.9, count=10 * len(names)).drop(columns=["p_cat", "p_dog"])
    table["label"] = table["predicted"] = np.array(names)[np.arange(len(table)) % len(names)]
    table = table.assign(**{f"p_{name}": np.random.default_rng(0).random(len(table)) for name in names})
    found = describe(
        table,
        names,
        np.random.default_rng(1).random((len(table), 4)).astype(np.float32),
        milliseconds=2.0,
        package_bytes=1,
        precision="fp32",
    )

    charts = [png_of(figure(found)) for figure in (confusion_figure, roc_figure)]

    assert all(Image.open(io.BytesIO(chart)).width <= 1600 for chart in charts)


def test_a_class_of_few_test_images_is_no_proof_against_a_model():
    """Twenty classes of three images each, all of them as well known as the others: one of them is the worst."""
    names, rng = [f"class {n}" for n in range(20)], np.random.default_rng(0)
    passed = 0
    for _ in range(50):
        targets = np.repeat(np.arange(20), 3)
        predicted = np.where(rng.random(60) < 0.9, targets, (targets + 1) % 20)
        passed += _worst_recall(score(predicted, targets, names), 0.5).passed
    given_up = score(np.where(np.arange(40) % 2 == 0, 0, 0), np.arange(40) % 2, ["cat", "dog"])

    assert passed >= 48
    assert not _worst_recall(given_up, 0.5).passed
