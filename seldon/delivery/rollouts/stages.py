"""The stages of each strategy: predictors, their weights, and what must hold before the next stage."""

from dataclasses import dataclass

from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.rollouts.settings import AbTest, BlueGreen, Canary, Copying, Rolling, Shadow, Strategy, Watch


@dataclass(frozen=True)
class Stage:
    """`watch` is None where nothing is watched; the last stage's predictors stay.

    `for_evidence`: it is skipped where the candidate is known to be as good, or single predictions cannot be read.
    """

    name: str
    predictors: tuple[PredictorSpec, ...]
    smoke: bool = False
    watch: Watch | None = None
    for_evidence: bool = False

    @property
    def copies(self) -> bool:
        """Whether a predictor gets copies of requests."""
        return any(predictor.shadow for predictor in self.predictors)


def stages(strategy: Strategy, stable: PredictorSpec | None, candidate: PredictorSpec) -> list[Stage]:
    """Return the stages from the stable version to the candidate. The stable one keeps its replicas until the candidate has all traffic."""
    promoted = Stage("promote", (_weighed(candidate, 100),))
    if stable is None or stable.name == candidate.name:
        return [Stage("first", (_weighed(candidate, 100),), smoke=True)]
    begin = Stage("smoke", (_weighed(stable, 100), _weighed(candidate, 0)), smoke=True)
    if isinstance(strategy, Shadow):
        last = promoted if strategy.then_promote else Stage("withdraw", (_weighed(stable, 100),))
        return [begin, Stage("shadow", _shadowed(stable, candidate, strategy.percent), watch=strategy.watch), last]
    return [begin, *_for_evidence(strategy, stable, candidate), *_with_traffic(strategy, stable, candidate), promoted]


def _for_evidence(strategy: Copying, stable: PredictorSpec, candidate: PredictorSpec) -> list[Stage]:
    """Copies of requests, before the candidate gets traffic."""
    if not strategy.shadow_percent:
        return []
    watch = strategy.watch
    if isinstance(strategy, AbTest):  # versions that differ are what it is for: labels of its own stage decide between them
        watch = watch.model_copy(update={"on_no_data": "advance"})
    return [Stage("shadow", _shadowed(stable, candidate, strategy.shadow_percent), watch=watch, for_evidence=True)]


def _with_traffic(strategy: Copying, stable: PredictorSpec, candidate: PredictorSpec) -> list[Stage]:
    match strategy:
        case Canary():
            return [
                Stage(f"canary {percent} %", _shared(stable, candidate, percent), watch=strategy.watch)
                for percent in strategy.steps
            ]
        case BlueGreen():
            return [Stage("green", (_weighed(stable, 0), _weighed(candidate, 100)), watch=strategy.watch)]
        case AbTest():
            return [Stage("ab_test", _shared(stable, candidate, strategy.percent), watch=strategy.watch)]
        case Rolling():
            return []


def _shared(stable: PredictorSpec, candidate: PredictorSpec, percent: int) -> tuple[PredictorSpec, ...]:
    return _weighed(stable, 100 - percent), _weighed(candidate, percent)


def _shadowed(stable: PredictorSpec, candidate: PredictorSpec, percent: int) -> tuple[PredictorSpec, ...]:
    return _weighed(stable, 100), candidate.model_copy(update={"traffic": percent, "shadow": True})


def _weighed(predictor: PredictorSpec, percent: int) -> PredictorSpec:
    return predictor.model_copy(update={"traffic": percent, "shadow": False})
