import pytest

from seldon.delivery.rollouts.settings import AbTest, BlueGreen, Canary, Rolling, Shadow
from seldon.delivery.rollouts.stages import stages

BEGIN, END = {"v1": 100, "v2": 0}, {"v2": 100}
STAGES = {
    Rolling: [],
    Canary: [{"v1": 90, "v2": 10}, {"v1": 50, "v2": 50}],
    BlueGreen: [{"v1": 0, "v2": 100}],
    AbTest: [{"v1": 50, "v2": 50}],
}


def plan(predictor_spec, strategy):
    found = stages(strategy, predictor_spec("1"), predictor_spec("2"))
    return [{f"{part.name}{'*' if part.shadow else ''}": part.traffic for part in stage.predictors} for stage in found]


@pytest.mark.parametrize("strategy", STAGES)
def test_each_strategy_copies_requests_first_and_ends_with_all_traffic_on_one_version(predictor_spec, strategy):
    assert plan(predictor_spec, strategy(shadow_percent=0)) == [BEGIN, *STAGES[strategy], END]
    assert plan(predictor_spec, strategy(shadow_percent=20)) == [BEGIN, {"v1": 100, "v2*": 20}, *STAGES[strategy], END]


def test_a_shadow_is_removed_or_promoted(predictor_spec):
    assert plan(predictor_spec, Shadow(percent=30)) == [BEGIN, {"v1": 100, "v2*": 30}, {"v1": 100}]
    assert plan(predictor_spec, Shadow(then_promote=True)) == [BEGIN, {"v1": 100, "v2*": 100}, END]


def test_versions_that_differ_may_begin_an_ab_test(predictor_spec):
    copied = {strategy: stages(strategy(), predictor_spec("1"), predictor_spec("2"))[1] for strategy in STAGES}

    assert {strategy.__name__: stage.watch.on_no_data for strategy, stage in copied.items()} == {
        "Rolling": "advance", "Canary": "rollback", "BlueGreen": "rollback", "AbTest": "advance",
    }  # fmt: skip
    assert all(stage.for_evidence for stage in copied.values())


def test_a_first_version_is_smoke_tested_in_place(predictor_spec):
    (only,) = stages(Canary(), None, predictor_spec("1"))

    assert only.smoke
    assert [(part.name, part.traffic) for part in only.predictors] == [("v1", 100)]
