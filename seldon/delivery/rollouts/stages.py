"""The stages of each strategy: predictors, their weights, and what must hold before the next stage."""

from dataclasses import dataclass

from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.rollouts.settings import AbTest, BlueGreen, Canary, Shadow, Strategy, Watch


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
    match strategy:
        case Canary():
            steps = [
                Stage(f"canary {percent} %", _shared(stable, candidate, percent), watch=strategy.watch)
                for percent in strategy.steps
            ]
            if strategy.shadow_percent:
                copied = _shadowed(stable, candidate, strategy.shadow_percent)
                steps = [Stage("shadow", copied, watch=strategy.watch, for_evidence=True), *steps]
            return [begin, *steps, promoted]
        case BlueGreen():
            return [begin, Stage("green", (_weighed(stable, 0), _weighed(candidate, 100)), watch=strategy.watch), promoted]
        case Shadow():
            last = promoted if strategy.then_promote else Stage("withdraw", (_weighed(stable, 100),))
            return [begin, Stage("shadow", _shadowed(stable, candidate, strategy.percent), watch=strategy.watch), last]
        case AbTest():
            return [begin, Stage("ab_test", _shared(stable, candidate, strategy.percent), watch=strategy.watch), promoted]
        case _:
            return [begin, promoted]


def _shared(stable: PredictorSpec, candidate: PredictorSpec, percent: int) -> tuple[PredictorSpec, ...]:
    return _weighed(stable, 100 - percent), _weighed(candidate, percent)


def _shadowed(stable: PredictorSpec, candidate: PredictorSpec, percent: int) -> tuple[PredictorSpec, ...]:
    return _weighed(stable, 100), candidate.model_copy(update={"traffic": percent, "shadow": True})


def _weighed(predictor: PredictorSpec, percent: int) -> PredictorSpec:
    return predictor.model_copy(update={"traffic": percent, "shadow": False})
