from seldon.delivery.rollouts.settings import AbTest, BlueGreen, Canary, Rolling, Shadow
from seldon.delivery.rollouts.stages import stages


def plan(predictor_spec, strategy):
    found = stages(strategy, predictor_spec("1"), predictor_spec("2"))
    return [{f"{part.name}{'*' if part.shadow else ''}": part.traffic for part in stage.predictors} for stage in found]


def test_each_strategy_ends_with_all_traffic_on_one_version(predictor_spec):
    begin, end = {"v1": 100, "v2": 0}, {"v2": 100}

    assert plan(predictor_spec, Rolling()) == [begin, end]
    steps = [{"v1": 95, "v2": 5}, {"v1": 50, "v2": 50}]
    assert plan(predictor_spec, Canary(steps=(5, 50), shadow_percent=0)) == [begin, *steps, end]
    assert plan(predictor_spec, Canary(steps=(5, 50), shadow_percent=20)) == [begin, {"v1": 100, "v2*": 20}, *steps, end]
    assert plan(predictor_spec, BlueGreen()) == [begin, {"v1": 0, "v2": 100}, end]
    assert plan(predictor_spec, Shadow(percent=30)) == [begin, {"v1": 100, "v2*": 30}, {"v1": 100}]
    assert plan(predictor_spec, Shadow(then_promote=True)) == [begin, {"v1": 100, "v2*": 100}, end]
    assert plan(predictor_spec, AbTest(percent=20)) == [begin, {"v1": 80, "v2": 20}, end]


def test_a_first_version_is_smoke_tested_in_place(predictor_spec):
    (only,) = stages(Canary(), None, predictor_spec("1"))

    assert only.smoke
    assert [(part.name, part.traffic) for part in only.predictors] == [("v1", 100)]
