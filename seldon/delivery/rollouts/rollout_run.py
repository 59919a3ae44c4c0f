"""One rollout under way: its stages, its smoke tests, and the verdict on each stage."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from seldon.delivery.clusters.cluster_protocol import Cluster, DeploymentError, NoEvidenceError, UnfitVersionError
from seldon.delivery.manifest import Manifest, OngoingRollout, PredictorSpec
from seldon.delivery.render_manifest import render
from seldon.delivery.rollouts.candidate_package import CandidatePackage
from seldon.delivery.rollouts.compare_on_test_images import compare_on_test_images
from seldon.delivery.rollouts.observer import Observer
from seldon.delivery.rollouts.quality_evidence import Evidence, Result, by_test_images
from seldon.delivery.rollouts.rollout_verdicts import Decision, Verdict, judge, settle_ab_test
from seldon.delivery.rollouts.settings import AbTest, DeploySettings, Shadow
from seldon.delivery.rollouts.smoke_tests import check_metrics, smoke_test
from seldon.delivery.rollouts.stages import Stage, stages

logger = logging.getLogger(__name__)
OBSERVE_SECONDS = 1.0
REPORT_SECONDS = 30.0
METRICS_SECONDS = 20.0  # for a replica's metrics to be read first
DECISIONS: dict[Result, Decision] = {"worse": "rollback", "as good": "advance", "undecided": "no_data"}
Outcome = Literal["promoted", "rolled_back", "withdrawn", "unchanged"]


@dataclass
class Rollout:
    """The outcome of a rollout.

    `exposure`: the share of requests that the candidate served; `unfit`: it failed by the version's own fault, not the cluster's;
    `unproved`: too few predictions came, so nothing was proved for or against it;
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
    unproved: bool = False
    left_undone: str = ""


@dataclass
class RolloutRun:
    """Holds what every part of a rollout needs. `before`: the manifest that serves; `stable`: its predictor with the traffic.

    `report` is called with each stage's verdict. `known`: evidence of earlier stages, of test images first.
    """

    cluster: Cluster
    settings: DeploySettings
    before: Manifest | None
    stable: PredictorSpec | None
    candidate: PredictorSpec
    rollout: Rollout
    report: Callable[[str, Verdict], None]
    package: CandidatePackage
    known: Evidence | None = None

    def carry_out(self) -> None:
        """Apply one stage after the other; each that is observed needs a verdict to go on.

        Raises: UnfitVersionError, DeploymentError, NoEvidenceError.
        """
        base = self.before or render(
            self.settings.name, self.settings.namespace, [self.candidate.model_copy(update={"traffic": 100})]
        )
        plan = stages(self.settings.strategy, self.stable, self.candidate)
        overall = self._observer(counts_only=True) if self.stable else None
        for stage in plan:
            if stage.for_evidence and not self._lacks_evidence():
                continue
            self._carry_out_stage(stage, base, overall, last=stage is plan[-1])
            if stage.copies and overall:
                overall = self._observer(counts_only=True)  # copies were no exposure
        if self.only_reports:
            self.rollout.outcome = "withdrawn"
            self.rollout.reason = f"{self.rollout.verdicts[-1][1].reason}; the shadow served no caller, and was removed"

    def _lacks_evidence(self) -> bool:
        """Whether copies of requests could show what test images did not."""
        if self.stable is None or (self.known is not None and self.known.result == "as good"):
            return False
        return self.cluster.tail(self.settings.namespace, self.settings.name, self.stable.model_name) is not None

    @property
    def only_reports(self) -> bool:
        """Whether the rollout is a shadow that is removed afterwards: it serves no caller, so its verdict refuses nothing."""
        strategy = self.settings.strategy
        return isinstance(strategy, Shadow) and not strategy.then_promote and self.stable is not None

    def replace(self, before: Manifest) -> None:
        """Deploy the same version with other settings or another number of replicas: the cluster replaces them one for one."""
        serving = self.candidate.model_copy(update={"traffic": 100})
        self.cluster.apply(with_past(before.with_predictors([serving], None), serving, before.history))
        self.rollout.smoke = self._smoke_test()
        self.rollout.reason = "the same version with other settings"

    def _carry_out_stage(self, stage: Stage, base: Manifest, overall: Observer | None, *, last: bool) -> None:
        manifest = base.with_predictors(list(stage.predictors), None if last and not stage.smoke else self._ongoing())
        if last:
            manifest = with_past(manifest, stage.predictors[0], base.history)
        if last and overall:
            self.rollout.exposure = _exposure(overall)
        self.cluster.apply(manifest)
        if overall and not last:
            overall.observe()  # from here on new replicas are counted
        logger.info("%s: %s", stage.name, ", ".join(f"{name} {weight} %" for name, weight in manifest.weights.items()))
        if stage.smoke:
            self.rollout.smoke = self._smoke_test()
            self._compare_on_test_images()
            if last:  # a first version: there is nothing to return to, so it is tested in place
                whole = base.with_predictors(list(stage.predictors), None)
                self.cluster.apply(with_past(whole, stage.predictors[0], base.history))
        if stage.watch is not None and self.stable is not None:
            self._await_verdict(stage, overall)

    def _ongoing(self) -> OngoingRollout:
        return OngoingRollout(
            strategy=self.settings.strategy.kind,
            from_predictor=self.stable.name if self.stable else None,
            to_predictor=self.candidate.name,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _observer(self, *, counts_only: bool = False) -> Observer:
        if self.stable is None:
            raise ValueError("a first version has nothing to be compared with")
        return Observer(
            self.cluster, self.settings.namespace, self.settings.name, self.stable, self.candidate, counts_only=counts_only
        )

    def _smoke_test(self) -> list[str]:
        predictor = (self.settings.namespace, self.settings.name, self.candidate.name)
        results = smoke_test(self.cluster.caller(*predictor), self.package.folder, as_packaged=not self.package.of_several)
        deadline = time.monotonic() + METRICS_SECONDS
        while not (expositions := self.cluster.exposition(*predictor)):
            if time.monotonic() > deadline:
                raise DeploymentError(f"expected the metrics of '{self.candidate.name}', got no replica whose could be read")
            time.sleep(OBSERVE_SECONDS)
        return [*results, check_metrics(expositions, self.candidate.version)]

    def _compare_on_test_images(self) -> None:
        """Raises: UnfitVersionError where the candidate is proved worse, by the verdict of a stage of its own."""
        place, images = (self.settings.namespace, self.settings.name), self.package.test_images()
        stable = self.cluster.caller(*place, self.stable.name) if self.stable and not self.package.overruled else None
        results = compare_on_test_images(images, self.cluster.caller(*place, self.candidate.name), stable)
        self.known = by_test_images(results, self.settings.judge)
        if self.known is None:
            logger.info("test images: the package has none")
            return
        verdict = Verdict(DECISIONS[self.known.result], self.known.sentence)
        self._note("test images", verdict)
        if verdict.decision == "rollback" and not self.only_reports:
            raise UnfitVersionError(f"test images: {verdict.reason}")

    def _note(self, stage: str, verdict: Verdict) -> None:
        self.rollout.verdicts.append((stage, verdict))
        self.report(stage, verdict)
        logger.info("%s: %s (%s)", stage, verdict.decision, verdict.reason)

    def _await_verdict(self, stage: Stage, overall: Observer | None) -> None:
        """Observe until the verdict is not 'hold'.

        Raises: UnfitVersionError with the verdict's reason when it is against the candidate, NoEvidenceError without enough predictions.
        """
        observer = self._observer()
        alone = all(part.traffic == 0 for part in stage.predictors if part.name != self.candidate.name)
        started = reported = time.monotonic()
        self._announce(stage)
        while (verdict := self.judge(observer, stage, time.monotonic() - started, alone=alone)).decision == "hold":
            if time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                logger.info("%s: after %.0f s: %s", stage.name, reported - started, verdict.reason)
            time.sleep(OBSERVE_SECONDS)
        self._note(stage.name, verdict)
        if verdict.proof:
            self.known = Evidence("as good", verdict.proof)
        if overall is not None and not stage.copies:
            self.rollout.exposure = _exposure(overall)
        if self.only_reports:
            return
        if verdict.decision == "rollback":
            raise UnfitVersionError(f"{stage.name}: {verdict.reason}")
        if verdict.decision == "no_data" and stage.watch is not None and stage.watch.on_no_data == "rollback":
            raise NoEvidenceError(
                f"{stage.name}: {verdict.reason}; nothing was proved against the version: deploy it again while requests and their labels arrive, with a "
                "longer strategy.watch.max_seconds, or with another strategy (--set strategy.kind=rolling)"
            )

    def _announce(self, stage: Stage) -> None:
        if stage.watch is not None:
            ab_test = self._ab_test(stage)
            most = ab_test.max_seconds if ab_test else stage.watch.max_seconds
            logger.info(
                "%s: waits for %d predictions of version %s, at most %.0f s; it needs requests, as of clients or of evaluate",
                stage.name, stage.watch.min_requests, self.candidate.version, most,
            )  # fmt: skip

    def judge(self, observer: Observer, stage: Stage, elapsed: float, *, alone: bool) -> Verdict:
        """The verdict so far. `elapsed`: seconds of this stage; `alone`: the stable version gets no traffic in it."""
        stable, candidate, agreements, pairs = observer.observe()
        if alone:
            stable = observer.past
        if stage.watch is None:
            raise ValueError(f"stage '{stage.name}' is not observed")
        if stage.copies:  # no caller waits for its predictions, so load does not fall where it cannot keep up
            candidate = candidate.without_turned_away()
        verdict = judge(
            stable,
            candidate,
            agreements,
            elapsed,
            stage.watch,
            self.settings.judge,
            alone=alone,
            copied=stage.copies and observer.reads,
            pairs=pairs,
            known=self.known,
        )
        if not observer.sees and verdict.decision in ("advance", "no_data"):
            return Verdict("hold", "the metrics cannot be read", verdict.metrics)
        if (ab_test := self._ab_test(stage)) and verdict.decision != "rollback":
            return settle_ab_test(verdict, stable, candidate, ab_test, elapsed)
        return verdict

    def _ab_test(self, stage: Stage) -> AbTest | None:
        """The strategy whose test settles this stage; None for other strategies, and for copies of requests before the test."""
        strategy = self.settings.strategy
        return strategy if isinstance(strategy, AbTest) and not stage.copies else None


def with_past(manifest: Manifest, serving: PredictorSpec, history: list[PredictorSpec]) -> Manifest:
    """The manifest with `serving` as the newest entry of its history."""
    return manifest.with_history([known for known in history if known.name != serving.name] + [serving])


def _exposure(observer: Observer) -> float:
    stable, candidate, *_ = observer.observe()
    total = stable.requests + candidate.requests
    return candidate.requests / total if total else 0.0
