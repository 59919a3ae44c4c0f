"""Carry a rollout out: stage after stage, and back to what served before as soon as anything is wrong.

The manifest says what is going on in an annotation, so that whoever comes after a kill finds it and undoes it.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from imageloop.errors import ImageLoopError, SettingsError
from seldon.delivery.clusters.cluster_protocol import (
    Cluster,
    DeploymentError,
    NotBegunError,
    ReplicaEndedError,
    UnfitVersionError,
)
from seldon.delivery.manifest import Manifest, PredictorSpec, render
from seldon.delivery.rollouts.observer import Observer
from seldon.delivery.rollouts.rollout_verdicts import Verdict, judge
from seldon.delivery.rollouts.sequential_testing import compare
from seldon.delivery.rollouts.settings import AbTest, DeploySettings, Shadow
from seldon.delivery.rollouts.smoke_tests import check_metrics, smoke_test
from seldon.delivery.rollouts.stages import Stage, stages

logger = logging.getLogger(__name__)
LOOK_SECONDS = 1.0
METRICS_SECONDS = 20.0  # for a replica's metrics to be read first
Outcome = Literal["promoted", "rolled_back", "withdrawn", "unchanged"]


@dataclass
class Rollout:
    """What came of it.

    `exposure`: the share of requests that the candidate answered; `unfit`: what ended it speaks against the version, not the place;
    `left_undone`: why it could not be undone.
    """

    outcome: Outcome
    version: str
    before: str | None
    reason: str = ""
    verdicts: list[tuple[str, Verdict]] = field(default_factory=list)
    smoke: list[str] = field(default_factory=list)
    exposure: float = 0.0
    model_name: str = ""
    unfit: bool = False
    left_undone: str = ""


class RolloutStoppedError(ImageLoopError):
    """A rollout that was undone."""

    def __init__(self, rollout: Rollout) -> None:
        left = f"version {rollout.before} has all traffic" if rollout.before else "nothing serves"
        if rollout.left_undone:
            left = f"it could not be undone ({rollout.left_undone}), the next deploy or rollback does that"
        super().__init__(
            f"version {rollout.version} was rolled back: {rollout.reason}; {left}"
            + f" (meanwhile it answered {rollout.exposure:.1%} of the requests)"
            + ("" if rollout.unfit else "; that says nothing against it: once the cause is mended, deploy it again")
        )
        self.rollout = rollout


def roll_out(
    cluster: Cluster,
    settings: DeploySettings,
    candidate: PredictorSpec,
    report: Callable[[str, Verdict], None] = lambda _stage, _verdict: None,
    package: Path | None = None,
) -> Rollout:
    """Let `candidate` take over as the strategy says. `package`: a copy of what it serves, whose examples it is asked first.

    Raises: RolloutStoppedError when it was undone, DeploymentError while another rollout is at work or the cluster refuses to begin.
    """
    with cluster.changing(settings.namespace, settings.name):
        before = undo_interrupted(cluster, settings.namespace, settings.name)
        stable = _serving(before) if before else None
        rollout = Rollout("promoted", candidate.version, stable.version if stable else None)
        if before and stable and stable.is_same_process_as(candidate) and stable.replicas == candidate.replicas:
            cluster.apply(before)  # whatever of it had died
            return Rollout("unchanged", candidate.version, stable.version, "this version serves already")
        package = package or _folder_of(candidate)
        replaced = before if stable and stable.name == candidate.name else None
        try:
            if replaced:
                _replace(cluster, settings, replaced, candidate, rollout, package)
            else:
                _carry_out(cluster, settings, before, stable, candidate, rollout, report, package)
        except BaseException as error:
            if isinstance(error, NotBegunError | SettingsError) and cluster.get(settings.namespace, settings.name) == before:
                raise
            rollout.left_undone = _undo(cluster, settings.namespace, settings.name, before)
            if isinstance(error, ImageLoopError):
                rollout.outcome, rollout.reason = "rolled_back", str(error)
                rollout.unfit = replaced is None and _speaks_against(candidate, error)
                raise RolloutStoppedError(rollout) from error
            raise
        return rollout


def _speaks_against(candidate: PredictorSpec, error: ImageLoopError) -> bool:
    """Where the stable version's replicas end too, it is the place that is at fault."""
    if isinstance(error, ReplicaEndedError):
        return error.predictor == candidate.name
    return isinstance(error, UnfitVersionError)


def undo_interrupted(cluster: Cluster, namespace: str, name: str) -> Manifest | None:
    """What serves now, once a rollout that was killed in the middle is undone. Call it where `changing` holds."""
    manifest = cluster.get(namespace, name)
    if manifest is None or manifest.rollout is None:
        return manifest
    logger.warning("a rollout of '%s' to %s was interrupted; undoing it", manifest.key, manifest.rollout["to"])
    stable = settled(manifest)
    if stable is None:
        cluster.delete(namespace, name)
        return None
    whole = manifest.with_predictors([stable.model_copy(update={"traffic": 100, "shadow": False})], None)
    cluster.apply(whole)
    return whole


def settled(manifest: Manifest) -> PredictorSpec | None:
    """What serves; of a rollout that has not ended, what served before it."""
    if manifest.rollout is None:
        return _serving(manifest)
    return manifest.predictor(manifest.rollout["from"]) if manifest.rollout["from"] else None


def roll_back(cluster: Cluster, namespace: str, name: str) -> Rollout:
    """All traffic to the version that served before this one; where that one gets not ready, all is as it was.

    Raises: DeploymentError where there is none, or it gets not ready.
    """
    with cluster.changing(namespace, name):
        manifest = cluster.get(namespace, name)
        if manifest is None:
            raise DeploymentError(f"wanted a deployment '{namespace}/{name}' to roll back, found none; run: python run.py deploy")
        if manifest.rollout is not None:
            now = manifest.rollout["to"]
            model_name = (manifest.predictor(now) or _serving(manifest)).model_name
            undone = undo_interrupted(cluster, namespace, name)
            stable = _serving(undone) if undone else None
            before = stable.version if stable else None
            return Rollout("rolled_back", now.removeprefix("v"), before, "the rollout was undone", model_name=model_name)
        history = manifest.history
        if len(history) < 2:
            raise DeploymentError(
                f"wanted a version before {_serving(manifest).version} of '{manifest.key}', found none in its history"
            )
        bad, good = history[-1], history[-2]
        try:
            cluster.apply(manifest.with_predictors([good.model_copy(update={"traffic": 100})], None).with_history(history[:-1]))
        except BaseException:
            _undo(cluster, namespace, name, manifest)
            raise
        return Rollout("rolled_back", bad.version, good.version, "asked for", model_name=bad.model_name)


def _carry_out(
    cluster: Cluster, settings: DeploySettings, before: Manifest | None, stable: PredictorSpec | None, candidate: PredictorSpec,
    rollout: Rollout, report: Callable[[str, Verdict], None], package: Path | None,
) -> None:  # fmt: skip
    note = {
        "strategy": settings.strategy.kind,
        "from": stable.name if stable else None,
        "to": candidate.name,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    base = before or render(settings.name, settings.namespace, [candidate.model_copy(update={"traffic": 100})])
    plan = stages(settings.strategy, stable, candidate)
    watch = Observer(cluster, settings.namespace, settings.name, stable, candidate, counts_only=True) if stable else None
    for stage in plan:
        last = stage is plan[-1]
        going_on = None if last and not stage.smoke else note
        manifest = base.with_predictors(list(stage.predictors), going_on)
        if last:
            manifest = _with_past(manifest, stage.predictors[0], base.history)
        if last and watch:
            rollout.exposure = _exposure(watch)
        cluster.apply(manifest)
        if watch and not last:
            watch.look()  # from here on new replicas are counted
        logger.info("%s: %s", stage.name, ", ".join(f"{name} {weight} %" for name, weight in manifest.weights.items()))
        if stage.smoke:
            rollout.smoke = _smoke_test(cluster, settings, candidate, package)
            if last:  # a first version: there is nothing to go back to, so it was tried where it stands
                cluster.apply(_with_past(base.with_predictors(list(stage.predictors), None), stage.predictors[0], base.history))
        if stage.watch is not None and stable is not None:
            _watch(cluster, settings, stage, stable, candidate, rollout, report, watch)
    if isinstance(settings.strategy, Shadow) and not settings.strategy.then_promote and stable is not None:
        rollout.outcome, rollout.reason = (
            "withdrawn",
            f"{rollout.verdicts[-1][1].reason}; it answered nobody, and was taken away again",
        )


def _smoke_test(cluster: Cluster, settings: DeploySettings, candidate: PredictorSpec, package: Path | None) -> list[str]:
    place = (settings.namespace, settings.name, candidate.name)
    tried = smoke_test(cluster.caller(*place), package)
    deadline = time.monotonic() + METRICS_SECONDS
    while not (found := cluster.exposition(*place)):
        if time.monotonic() > deadline:
            raise DeploymentError(f"wanted the metrics of '{candidate.name}', found no replica whose could be read")
        time.sleep(LOOK_SECONDS)
    return [*tried, check_metrics(found, candidate.version)]


def _watch(
    cluster: Cluster, settings: DeploySettings, stage: Stage, stable: PredictorSpec, candidate: PredictorSpec,
    rollout: Rollout, report: Callable[[str, Verdict], None], whole: Observer | None,
) -> None:  # fmt: skip
    """Until there is a verdict that is not 'hold'.

    Raises: UnfitVersionError with the verdict's reason when it is against the candidate.
    """
    observer = Observer(cluster, settings.namespace, settings.name, stable, candidate)
    alone = all(part.traffic == 0 for part in stage.predictors if part.name != candidate.name)
    started = time.monotonic()
    while (verdict := _judge(observer, settings, stage, time.monotonic() - started, alone=alone)).decision == "hold":
        time.sleep(LOOK_SECONDS)
    rollout.verdicts.append((stage.name, verdict))
    report(stage.name, verdict)
    logger.info("%s: %s (%s)", stage.name, verdict.decision, verdict.reason)
    if whole is not None:
        rollout.exposure = _exposure(whole)
    watch = stage.watch
    if verdict.decision == "rollback" or (verdict.decision == "no_data" and watch is not None and watch.on_no_data == "rollback"):
        raise UnfitVersionError(f"{stage.name}: {verdict.reason}")


def _judge(observer: Observer, settings: DeploySettings, stage: Stage, elapsed: float, *, alone: bool) -> Verdict:
    stable, candidate, agreements = observer.look()
    if alone:  # nobody asks it now
        stable = observer.past
    if stage.watch is None:
        raise ValueError(f"stage '{stage.name}' is not watched")
    shadow = isinstance(settings.strategy, Shadow)
    if shadow:  # nobody waits for its answers, so nobody slows down where it cannot keep up
        candidate = candidate.without_turned_away()
    verdict = judge(
        stable, candidate, agreements, elapsed, stage.watch, settings.judge, alone=alone, copied=shadow and observer.reads
    )
    if not observer.sees and verdict.decision in ("advance", "no_data"):
        return Verdict("hold", "metrics are out of reach", verdict.figures)
    if not isinstance(settings.strategy, AbTest) or verdict.decision == "rollback":
        return verdict
    evidence = compare(stable.judged, candidate.judged, settings.strategy.percent / 100, settings.strategy.false_alarm_rate)
    figures = verdict.figures | {"candidate_wrong": evidence.candidate_wrong, "stable_wrong": evidence.stable_wrong}
    words = (
        f"wrong were {evidence.candidate_wrong} of {len(candidate.judged)} judged answers of the candidate, "
        f"{evidence.stable_wrong} of {len(stable.judged)} of the stable version"
    )
    if evidence.better is not None:
        return Verdict("advance" if evidence.better == "candidate" else "rollback", words, figures)
    if elapsed >= settings.strategy.max_seconds:
        return Verdict("no_data", f"not settled: {words}", figures)
    return Verdict("hold", words, figures)


def _replace(
    cluster: Cluster, settings: DeploySettings, before: Manifest, candidate: PredictorSpec, rollout: Rollout, package: Path | None
) -> None:
    """The same version with other settings or another number of replicas: the cluster replaces them one for one."""
    serving = candidate.model_copy(update={"traffic": 100})
    cluster.apply(_with_past(before.with_predictors([serving], None), serving, before.history))
    rollout.smoke = _smoke_test(cluster, settings, candidate, package)
    rollout.reason = "the same version with other settings"


def _undo(cluster: Cluster, namespace: str, name: str, before: Manifest | None) -> str:
    """Why it could not be done, if so: what ended the rollout must not be lost over that."""
    try:
        if before is not None and cluster.get(namespace, name) == before:
            return ""  # it was refused before anything changed
        if before is not None:
            cluster.apply(before)
        elif cluster.get(namespace, name) is not None:
            cluster.delete(namespace, name)
    except ImageLoopError as error:
        logger.warning("the rollout could not be undone: %s", error)
        return str(error)
    return ""


def _serving(manifest: Manifest) -> PredictorSpec:
    """The predictor with most of the traffic."""
    weights = manifest.weights
    name = max(weights, key=weights.__getitem__)
    return next(predictor for predictor in manifest.spec.predictors if predictor.name == name)


def _with_past(manifest: Manifest, serving: PredictorSpec, history: list[PredictorSpec]) -> Manifest:
    return manifest.with_history([known for known in history if known.name != serving.name] + [serving])


def _exposure(observer: Observer) -> float:
    stable, candidate, _ = observer.look()
    total = stable.requests + candidate.requests
    return candidate.requests / total if total else 0.0


def _folder_of(predictor: PredictorSpec) -> Path | None:
    uri = predictor.graph.model_uri or ""
    return Path(uri.removeprefix("file://")) if uri.startswith("file://") else None
