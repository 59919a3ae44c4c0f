import math
import random
from dataclasses import replace

import pytest

from seldon.delivery.rollouts.observations import Observation, Tally, quantile
from seldon.delivery.rollouts.quality_evidence import Evidence
from seldon.delivery.rollouts.rollout_verdicts import judge
from seldon.delivery.rollouts.sequential_testing import compare
from seldon.delivery.rollouts.settings import Canary, JudgeSettings, Watch

WATCH = Watch(min_seconds=10, max_seconds=100, min_requests=100)
AS_GOOD = Evidence("as good", "it is right on 300 of 300 test images")
UNDECIDED = Evidence("undecided", "it is right on 5 of 9 test images")
STRICT = JudgeSettings(max_latency_ms=0)


def seen(requests=200, errors=0, red=100, blue=100, p95=20.0, judged=()):
    taken = {} if p95 is None else {p95 / 2000: 0.5 * requests, p95 / 1000: 0.95 * requests, math.inf: requests}
    return Observation(requests, errors, {"red": red, "blue": blue}, p95, tuple(judged), buckets=taken)


CASES = [
    pytest.param(seen(), (), 20, "advance", "predictions without a fault", id="a good one"),
    pytest.param(seen(50, red=25, blue=25), (), 20, "hold", "50 of 100", id="too few so far"),
    pytest.param(seen(), (), 5, "hold", "200 of 100", id="too early"),
    pytest.param(seen(3, red=2, blue=1), (), 200, "no_data", "got 3", id="no requests"),
    pytest.param(seen(errors=20), (), 20, "rollback", "failed", id="errors"),
    pytest.param(seen(10, errors=10, red=0, blue=0, p95=None), (), 1, "rollback", "10 of 10", id="errors from the start"),
    pytest.param(seen(errors=1), (), 20, "advance", "without a fault", id="one error in 200"),
    pytest.param(seen(p95=90.0), (), 20, "rollback", "90 ms", id="slow"),
    pytest.param(seen(p95=35.0), (), 20, "advance", "without a fault", id="a little slower"),
    pytest.param(seen(), (True,) * 95 + (False,) * 5, 20, "advance", "without a fault", id="agrees"),
    pytest.param(seen(judged=[True] * 50 + [False] * 50), (), 20, "rollback", "by feedback", id="wrong by feedback"),
    pytest.param(seen(judged=[True] * 19 + [False]), (), 20, "advance", "without a fault", id="wrong, with little feedback"),
]


@pytest.mark.parametrize(("candidate", "agreements", "elapsed", "decision", "words"), CASES)
def test_a_verdict_follows_from_the_observations(candidate, agreements, elapsed, decision, words):
    verdict = judge(seen(judged=[True] * 99 + [False]), candidate, agreements, elapsed, WATCH, STRICT, known=AS_GOOD)

    assert verdict.decision == decision
    assert words in verdict.reason
    assert verdict.metrics["candidate"]["requests"] == candidate.requests


SILENCE = [
    pytest.param(seen(), (), 20, None, "hold", "neither labels nor test images show whether it is as good", id="nothing known"),
    pytest.param(seen(), (), 200, None, "no_data", "neither labels nor test images", id="nothing known in time"),
    pytest.param(seen(), (), 200, UNDECIDED, "no_data", "nothing shows (it is right on 5 of 9", id="few test images"),
    pytest.param(seen(), (True,) * 95 + (False,) * 5, 20, None, "hold", "95 of 100", id="agrees in most"),
    pytest.param(seen(), (True,) * 99 + (False,), 20, None, "advance", "agrees with the stable version", id="agrees"),
    pytest.param(seen(red=200, blue=0), (), 20, None, "no_data", "red 100%", id="one class only"),
    pytest.param(seen(red=200, blue=0), (), 20, AS_GOOD, "advance", "300 test images", id="another mix, and as good"),
    pytest.param(seen(), (True,) * 40 + (False,) * 60, 20, None, "no_data", "40 of 100", id="disagrees"),
    pytest.param(seen(), (True,) * 40 + (False,) * 60, 20, AS_GOOD, "advance", "300 test images", id="disagrees, and as good"),
]


@pytest.mark.parametrize(("candidate", "agreements", "elapsed", "tested", "decision", "words"), SILENCE)
def test_no_version_advances_on_silence_and_no_difference_alone_refuses_it(
    candidate, agreements, elapsed, tested, decision, words
):
    verdict = judge(seen(), candidate, agreements, elapsed, WATCH, JudgeSettings(), known=tested)

    assert verdict.decision == decision
    assert words in verdict.reason


def test_labels_outrank_agreement_and_test_images():
    disagrees = (True,) * 40 + (False,) * 60
    better, worse = seen(judged=[True] * 90 + [False] * 10), seen(judged=[True] * 40 + [False] * 60)

    right = judge(worse, better, disagrees, 20, WATCH, JudgeSettings())
    wrong = judge(better, worse, (), 20, WATCH, JudgeSettings(), known=AS_GOOD)

    assert (right.decision, wrong.decision) == ("advance", "rollback")
    assert "right in 90 of 100 predictions" in right.reason
    assert "at least" in wrong.reason


def test_labels_of_images_that_both_predicted_are_compared_in_pairs():
    """30 points worse on the same 60 images is proved; with as many labels of different images it would not be."""
    pairs = ((True, True),) * 38 + ((False, True),) * 20 + ((True, False),) * 2

    verdict = judge(seen(), seen(), (), 20, WATCH, JudgeSettings(), pairs=pairs)

    assert verdict.decision == "rollback"
    assert "right in 40 of 60 predictions, the stable version in 58 of 60" in verdict.reason


def test_labels_that_lean_against_a_version_are_waited_for_though_test_images_are_for_it():
    stable, candidate = seen(judged=[True] * 80 + [False] * 20), seen(judged=[True] * 28 + [False] * 12)

    early, late = (judge(stable, candidate, (), elapsed, WATCH, JudgeSettings(), known=AS_GOOD) for elapsed in (20, 200))

    assert (early.decision, late.decision) == ("hold", "no_data")
    assert "right in 28 of 40 predictions, the stable version in 80 of 100, which does not rule out a loss" in early.reason


@pytest.mark.parametrize(("budget", "decision"), [(100, "advance"), (50, "rollback")])
def test_within_its_latency_budget_no_version_is_too_slow(budget, decision):
    verdict = judge(seen(p95=10.0), seen(p95=90.0), (), 20, WATCH, JudgeSettings(max_latency_ms=budget), known=AS_GOOD)

    assert verdict.decision == decision


@pytest.mark.parametrize(("stable", "candidate", "decision"), [(2, 30, "rollback"), (30, 34, "advance"), (0, 2, "advance")])
def test_a_version_that_refuses_more_images_is_at_fault_though_none_failed(stable, candidate, decision):
    verdict = judge(
        replace(seen(), refused=stable), replace(seen(), refused=candidate), (), 20, WATCH, JudgeSettings(), known=AS_GOOD
    )

    assert verdict.decision == decision
    assert ("it refused 30 of 200 requests" in verdict.reason) == (decision == "rollback")


def test_chance_alone_rolls_hardly_anything_back():
    rng = random.Random(0)

    def draw(count):
        red = sum(rng.random() < 0.5 for _ in range(count))
        return Observation(count, 0, {"red": red, "blue": count - red}, 20.0, tuple(rng.random() < 0.95 for _ in range(60)))

    verdicts = [judge(draw(400), draw(40), (), 20, WATCH, JudgeSettings()).decision for _ in range(500)]

    assert verdicts.count("rollback") <= 5


def test_feedback_separates_a_worse_model_from_an_equal_one():
    """60 % instead of 80 %, 120 labels each."""
    rng = random.Random(0)

    def draw(share):
        return Observation(200, 0, {"red": 100, "blue": 100}, 20.0, tuple(rng.random() < share for _ in range(120)))

    def rolled_back(share):
        return sum(judge(draw(0.8), draw(share), (), 20, WATCH, JudgeSettings()).decision == "rollback" for _ in range(500))

    assert rolled_back(0.6) > 250
    assert rolled_back(0.8) <= 5


@pytest.mark.parametrize(("share", "later"), [(0.5, 0.9), (0.1, 0.7)])
def test_looking_early_and_often_does_not_raise_the_false_alarm_rate(share, later):
    """Also where the images get harder in the middle, and the candidate gets few of the requests."""
    rng, alarms, runs, length = random.Random(1), 0, 200, 800
    for _ in range(runs):
        predictions = [(rng.random() < share, rng.random() < (0.9 if place < length / 2 else later)) for place in range(length)]
        comparisons = (
            compare(*([right for mine, right in predictions[:seen] if mine == whose] for whose in (False, True)), share, 0.05)
            for seen in range(20, length + 1, 20)
        )
        alarms += any(comparison.better is not None for comparison in comparisons)

    assert alarms / runs <= 0.05


def test_a_better_version_is_found_out():
    rng = random.Random(2)
    found = [
        compare([rng.random() < 0.80 for _ in range(600)], [rng.random() < 0.92 for _ in range(600)], 0.5, 0.05).better
        for _ in range(50)
    ]

    assert found.count("candidate") >= 45
    assert "stable" not in found


@pytest.mark.parametrize(
    ("agreements", "elapsed", "decision"), [((), 20, "hold"), ((), 200, "no_data"), ((True,), 20, "advance")]
)
def test_a_shadow_waits_until_its_predictions_can_be_compared(agreements, elapsed, decision):
    verdict = judge(seen(), seen(), agreements, elapsed, WATCH, JudgeSettings(), copied=True, known=AS_GOOD)

    assert verdict.decision == decision
    assert ("none for an image that the stable version predicted too" in verdict.reason) == (not agreements)


def test_a_stable_version_with_too_few_predictions_is_no_comparison():
    silent = Observation(0, 0, {}, None)

    verdict = judge(silent, seen(), (), 20, WATCH, JudgeSettings())
    assert (verdict.decision, verdict.reason) == (
        "hold",
        "200 of 100 predictions so far, and 0 of the stable version to compare with",
    )
    assert judge(silent, seen(), (), 200, WATCH, JudgeSettings()).decision == "no_data"
    assert judge(silent, seen(), (), 20, WATCH, JudgeSettings(), alone=True, known=AS_GOOD).decision == "advance"


def exposition_of(num_predictions: int, failed: int = 0, full: int = 0) -> str:
    """The metrics of a replica."""
    return f"""# TYPE imageloop_requests counter
imageloop_requests_total{{predictor="v1",route="/predict",code="200"}} {num_predictions}.0
imageloop_requests_total{{predictor="v1",route="/predict",code="500"}} {failed}.0
imageloop_requests_total{{predictor="v1",route="/predict",code="503"}} {full}.0
imageloop_requests_total{{predictor="v1",route="/feedback",code="503"}} 9.0
# TYPE imageloop_predictions counter
imageloop_predictions_total{{predictor="v1",version="1",label="cat"}} {num_predictions}.0
"""


def test_each_replica_is_counted_for_itself():
    tally = Tally({"one": exposition_of(100), "two": exposition_of(50, 1)})

    tally.add({"one": exposition_of(110, 2, 3), "two": exposition_of(50, 1)})
    assert tally.observation() == Observation(15, 5, {"cat": 10}, None, turned_away=3)

    tally.add({"two": exposition_of(60, 1)})  # one does not answer, which takes nothing away
    assert tally.observation() == Observation(25, 5, {"cat": 20}, None, turned_away=3)

    tally.add(
        {"one": exposition_of(4), "two": exposition_of(60, 1), "three": exposition_of(1000)}
    )  # one started again, three was not known
    assert tally.observation([True]) == Observation(29, 5, {"cat": 24}, None, (True,), turned_away=3)
    assert tally.observation().without_turned_away() == Observation(26, 2, {"cat": 24}, None, turned_away=3)
    assert Tally({}).observation().error_rate == 0


def test_a_restarted_replica_with_higher_counters_is_detected():
    tally = Tally({"one": exposition_of(20)})

    tally.add({"one": exposition_of(0, 25)})

    assert tally.observation() == Observation(25, 25, {}, None)


def test_refused_images_are_counted_and_refused_callers_are_not():
    codes = {"200": 5, "400": 1, "413": 2, "415": 3, "422": 4, "401": 50, "404": 60, "500": 6}
    lines = [
        f'imageloop_requests_total{{predictor="v1",route="/predict",code="{code}"}} {count}.0' for code, count in codes.items()
    ]
    tally = Tally({"one": exposition_of(0)})

    tally.add({"one": "\n".join(["# TYPE imageloop_requests counter", *lines])})

    assert (tally.observation().refused, tally.observation().errors) == (10, 6)


def test_a_quantile_lies_within_its_bucket():
    assert quantile({0.01: 50, 0.02: 100, float("inf"): 100}, 0.95) == pytest.approx(0.019)
    assert quantile({0.01: 0, float("inf"): 4}, 0.95) == 0.01
    assert quantile({}, 0.95) is None


def test_a_canarys_steps_grow():
    with pytest.raises(ValueError, match="steps that grow"):
        Canary(steps=(50, 10))


def looked_at(draw, steps=range(30, 201, 10)) -> bool:
    """Whether a candidate that is as good as the stable version, nine times as often asked, is rolled back at any comparison."""
    stable, candidate = draw(9 * steps[-1]), draw(steps[-1])
    watch = Watch(min_seconds=1000, max_seconds=2000)
    return any(
        judge(observed(stable[: 9 * count]), observed(candidate[:count]), (), 20, watch, STRICT).decision
        in ("rollback", "no_data")
        for count in steps
    )


def observed(predictions: list[tuple[int, float]]) -> Observation:
    """Of predictions with a class and the seconds that each took."""
    bounds = (0.01, 0.025, 0.05, 0.1, 0.25)
    taken = {bound: sum(seconds <= bound for _, seconds in predictions) for bound in bounds} | {math.inf: len(predictions)}
    labels = {str(label): sum(found == label for found, _ in predictions) for label in {label for label, _ in predictions}}
    return Observation(len(predictions), 0, labels, 1000 * quantile(taken, 0.95), buckets=taken)


@pytest.mark.parametrize("classes", [2, 37, 101])
def test_many_classes_differ_by_chance_and_that_is_not_held_against_a_version(classes):
    rng = random.Random(0)

    rolled_back = sum(looked_at(lambda count: [(rng.randrange(classes), 0.005) for _ in range(count)]) for _ in range(15))

    assert rolled_back == 0


def test_a_few_slow_responses_do_not_count_against_a_version():
    """4 % take 80 ms instead of 8: near enough to a twentieth that the percentile of few predictions jumps."""
    rng = random.Random(0)

    rolled_back = sum(
        looked_at(lambda count: [(0, 0.08 if rng.random() < 0.04 else 0.008) for _ in range(count)]) for _ in range(60)
    )

    assert rolled_back <= 1


def test_a_version_with_all_traffic_is_compared_with_the_history_of_the_stable_one():
    past = replace(seen(5000, errors=250), labels={})
    alike = judge(past, seen(errors=10), (), 20, WATCH, JudgeSettings(), alone=True, known=AS_GOOD)
    worse = judge(past, replace(seen(errors=10), refused=150), (), 20, WATCH, JudgeSettings(), alone=True)

    assert alike.decision == "advance"
    assert (worse.decision, "it refused 150 of 200" in worse.reason) == ("rollback", True)
