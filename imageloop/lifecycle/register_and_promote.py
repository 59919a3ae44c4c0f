"""Register a package, promote it to champion, and approve a version that awaits it; one promotion at a time."""

import json
import logging
from dataclasses import dataclass

from imageloop.adapters import mlflow_tracking
from imageloop.adapters.mlflow_registry import ModelRegistry, promotion_lock
from imageloop.adapters.registered_version import (
    AGAINST,
    CLASS_NAMES,
    LABELS,
    MADE_WITH,
    MAX_TAG,
    METRICS,
    OVERRULED,
    TEST_SET,
    VERDICT,
    VERDICT_WORDS,
    RegisteredVersion,
    name_of_data,
    name_of_model,
)
from imageloop.data.prepared_images import PreparedImages
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.compare_with_champion import compare, hash_of_test_set
from imageloop.lifecycle.feedback_images import ImagesByRequest
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.gates import GateVerdict, judge, lowered_gates
from imageloop.promotion.settings import PromotionSettings
from imageloop.promotion.step_artifacts import MadeWith, ModelPackage, Registration
from imageloop.training.feedback_data import FeedbackData
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
OUTCOMES = {kind: VERDICT_WORDS[kind] for kind in ("hold", "rollback")}
PROMOTING = "promoting"  # the verdict of a version that passed and is not the champion yet


def register_version(
    package: ModelPackage,
    evaluation: Evaluation,
    verdict: GateVerdict,
    prepared: PreparedImages,
    run_id: str,
    feedback: FeedbackData,
    settings: PromotionSettings,
    made_with: MadeWith,
    workspace: Workspace,
    retained: ImagesByRequest,
) -> Registration:
    """Register the package, and promote it where the verdict and the settings say so. `retained`: images of the labels of `feedback`.

    If another run promoted a model since the verdict, the gates decide again, against that one. The next run completes what a killed
    run registered and did not promote.
    """
    registry = ModelRegistry(settings.model_name)
    promotion = _Promotion(registry, package, evaluation, prepared, feedback, settings, made_with, retained)
    # The lock is of this machine; a promotion elsewhere, as in a pod, is noticed by asking again before the alias moves.
    with promotion_lock(workspace):
        return promotion.register(verdict, run_id)


def name_run(registration: Registration, made_with: MadeWith, evaluation: Evaluation, run_id: str) -> None:
    """Name the MLflow run that trained a version by model, version, backbone and data, and describe what became of it."""
    backbone = name_of_model(made_with.training.model.model_dump(mode="json"))
    data = name_of_data(made_with.data.model_dump(mode="json"))
    low, high = evaluation.intervals["accuracy"]
    mlflow_tracking.name_run(
        run_id,
        f"{registration.name} {registration.version}: {backbone} on {data}",
        f"Version {registration.version} of `{registration.name}`: {registration.outcome} ({registration.reason}). "
        f"Accuracy {evaluation.scores.accuracy:.1%} on {len(evaluation.predictions)} test images (95 %: {low:.1%} to {high:.1%}).",
    )


@dataclass(frozen=True)
class _Promotion:
    """Takes one package to the registry."""

    registry: ModelRegistry
    package: ModelPackage
    evaluation: Evaluation
    prepared: PreparedImages
    feedback: FeedbackData
    settings: PromotionSettings
    made_with: MadeWith
    retained: ImagesByRequest

    def register(self, verdict: GateVerdict, run_id: str) -> Registration:
        """Within the lock: register or complete the version, decide again if the champion changed, and promote."""
        digest = self.package.digest()
        champion, known = self.registry.champion(), self.registry.find(digest)
        if known is not None and (known.version == champion or not _is_open(known, champion, self.settings)):
            return self._already_registered(known, champion)
        if champion != verdict.champion_version:
            verdict = self._decide_again()
        reason = self._reason(verdict)
        version = self._write(known, run_id, verdict, reason, digest)
        kind = _decided(verdict, self.feedback, self.settings)
        while kind == "advance" and (now := self.registry.champion()) != champion:
            champion, verdict = now, self._decide_again()
            kind = _decided(verdict, self.feedback, self.settings)
            reason = self._reason(verdict)
            for key, value in self._tags_of(verdict, reason).items():
                self.registry.set_tag(version, key, value)
        if kind == "advance":
            self.registry.promote(version)
        else:
            logger.info("version %s: %s", version, reason)
        self.registry.set_verdict(version, kind)
        outcome = "champion" if kind == "advance" else OUTCOMES[kind]
        values = {"name": self.registry.name, "version": version, "outcome": outcome, "reason": reason}
        return Registration.model_validate(values)

    def _already_registered(self, known: RegisteredVersion, champion: str | None) -> Registration:
        if known.verdict == PROMOTING:
            self.registry.set_verdict(known.version, "advance")
        outcome = "champion" if known.version == champion else OUTCOMES.get(known.verdict, "superseded")
        reason = "these files are registered already"
        if outcome == "superseded":
            successor = f"version {champion} replaced them" if champion else "the alias champion was removed from them"
            reason += (
                f", and {successor}; python run.py approve {known.version} --model {self.registry.name} makes them champion again"
            )
        values = {"name": self.registry.name, "version": known.version, "outcome": outcome, "reason": reason}
        return Registration.model_validate(values)

    def _decide_again(self) -> GateVerdict:
        logger.info("another version became the champion meanwhile: the gates decide again")
        champion, recent = compare(self.package.folder, self.prepared, self.feedback, self.settings.model_name, self.retained)
        return judge(self.evaluation, champion, self.settings.gates, recent)

    def _write(self, known: RegisteredVersion | None, run_id: str, verdict: GateVerdict, reason: str, digest: str) -> str:
        kind = _decided(verdict, self.feedback, self.settings)
        tags = self._tags_of(verdict, reason) | {
            VERDICT: PROMOTING if kind == "advance" else VERDICT_WORDS[kind],
            "package_digest": digest,
            METRICS: json.dumps(self.evaluation.overall()),  # model.json has those of each class: too many for a tag
            MADE_WITH: self.made_with.model_dump_json(),
            TEST_SET: hash_of_test_set(self.evaluation.predictions),
            LABELS: str(len(self.feedback.labelled)),
        }
        class_names = json.dumps(self.evaluation.class_names)
        if len(class_names) <= MAX_TAG:
            tags[CLASS_NAMES] = class_names
        if known is None:
            return self.registry.register(self.package.folder, run_id, tags)
        for key, value in tags.items():
            self.registry.set_tag(known.version, key, value)
        return known.version

    def _tags_of(self, verdict: GateVerdict, reason: str) -> dict[str, str]:
        return {
            "reason": reason,
            AGAINST: verdict.champion_version or "",
        }

    def _reason(self, verdict: GateVerdict) -> str:
        bias, lowered = self.feedback.bias, self._lowered(verdict)
        return (
            verdict.sentence()
            + (f"; approval is needed, for the labels are no fair sample: {bias}" if bias else "")
            + (f"; its gates are lower than those of champion {verdict.champion_version}: {lowered}" if lowered else "")
        )

    def _lowered(self, verdict: GateVerdict) -> str:
        if verdict.champion_version is None:
            return ""
        champions = self.registry.made_with(verdict.champion_version)
        return lowered_gates(self.settings.gates, champions.gates) if champions and champions.gates else ""


def _decided(verdict: GateVerdict, feedback: FeedbackData, settings: PromotionSettings) -> str:
    """`hold` where a version that passed needs approval, else the decision of the gates."""
    asks = settings.approval == "manual" or feedback.bias is not None or verdict.comparison == "not verified"
    return "hold" if verdict.passed and asks else verdict.decision


def _is_open(known: RegisteredVersion, champion: str | None, settings: PromotionSettings) -> bool:
    """Whether a registered version may still become the champion: its run was killed, or it awaits approval."""
    if known.verdict == "hold":
        return settings.approval == "automatic" or (known.judged_against or None) != champion
    return known.verdict == PROMOTING


def approve_version(name: str, version: str, workspace: Workspace, reason: str = "") -> str | None:
    """Make a version the champion, and return the one before it. `reason` overrules a gate or a rollout that refused it.

    Raises: ImageLoopError for a version that was refused without a reason to overrule that, or that was compared with another champion than the current one.
    """
    registry = ModelRegistry(name)
    with promotion_lock(workspace):
        found, before = registry.get(version), registry.champion()
        if found.verdict == "rollback" and not reason:
            raise ImageLoopError(
                f"expected a version that passed its gates, got {version} {found.reason}; train a better one, or overrule the verdict: "
                f"python run.py approve {version} --model {name} --reason TEXT"
            )
        if found.verdict == "hold" and found.judged_against is not None and (found.judged_against or None) != before:
            raise ImageLoopError(
                f"expected a version that was compared with champion {before}, got {version}, compared with {found.judged_against or 'none'}; run its "
                f"training again, which compares it anew, or see: python run.py compare {before} {version} --model {name}"
            )
        registry.promote(version)
        registry.set_verdict(version, "advance")
        registry.set_tag(version, "approved", f"{OVERRULED}{reason}" if reason else "by a user")
        if reason:
            registry.set_tag(version, "reason", f"approved by a user: {reason}; before: {found.reason}")
    return before
