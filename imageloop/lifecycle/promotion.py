"""From a verdict to a version in the registry, one promotion at a time."""

import json
import logging

from imageloop.adapters.mlflow_registry import (
    AGAINST,
    CHANGED,
    LABELS,
    MADE_WITH,
    ModelRegistry,
    RegisteredVersion,
    promotion_lock,
)
from imageloop.data.prepared_images import PreparedPictures
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.champion import compare
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.gates import GateVerdict, judge
from imageloop.promotion.settings import PromotionSettings
from imageloop.promotion.step_artifacts import MadeWith, ModelPackage, Registration
from imageloop.training.feedback_data import Experience
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
OUTCOMES = {"hold": "waiting for approval", "rollback": "refused"}
PROMOTING = "promoting"  # the verdict of a version that passed and is not the champion yet


def register_version(
    package: ModelPackage,
    evaluation: Evaluation,
    verdict: GateVerdict,
    prepared: PreparedPictures,
    run_id: str,
    experience: Experience,
    settings: PromotionSettings,
    made_with: MadeWith,
    workspace: Workspace,
) -> Registration:
    """Register the package and promote it where the verdict and the settings say so.

    If another run promoted a model since the verdict, the verdict is given again, against that one. What a killed run registered and
    did not promote, or did not call promoted, the next one does.
    """
    registry, digest = ModelRegistry(settings.model_name), package.digest()

    def judge_again() -> GateVerdict:
        logger.info("another version became the champion meanwhile: the gates judge again")
        champion, recent = compare(package.folder, prepared, experience, settings.model_name)
        return judge(evaluation, champion, settings.gates, recent)

    # The lock is of this machine; runs elsewhere, as in pods, are met by looking again before the title is taken.
    with promotion_lock(workspace):
        champion, known = registry.champion(), registry.find(digest)
        if known is not None and (known.version == champion or not _is_open(known, champion, settings)):
            if known.verdict == PROMOTING:
                registry.set_tag(known.version, "verdict", "advance")
            outcome = "champion" if known.version == champion else OUTCOMES.get(known.verdict, "superseded")
            reason = "these files are registered already"
            if outcome == "superseded":
                took = f"version {champion} took their place" if champion else "the title of champion was taken from them"
                reason += f", and {took}; python run.py approve {known.version} brings them back"
            return Registration(name=registry.name, version=known.version, outcome=outcome, reason=reason)
        if champion != verdict.champion_version:
            verdict = judge_again()
        kind = _decided(verdict, experience, settings)
        reason = verdict.sentence() + (
            f"; a person decides, for the labels are no fair sample: {experience.bias}" if experience.bias else ""
        )
        tags = {
            "verdict": PROMOTING if kind == "advance" else kind,
            "reason": reason,
            "package_digest": digest,
            "figures": json.dumps(evaluation.overall()),  # model.json has those of each class: too many for a tag
            MADE_WITH: made_with.model_dump_json(),
            CHANGED: str(verdict.changed_on_recent),
            LABELS: str(len(experience.labelled)),
            AGAINST: verdict.champion_version or "",
        }
        if known is None:
            version = registry.register(package.folder, run_id, tags)
        else:
            version = known.version
            for key, value in tags.items():
                registry.set_tag(version, key, value)
        while kind == "advance" and (now := registry.champion()) != champion:
            champion = now
            verdict = judge_again()
            kind = _decided(verdict, experience, settings)
            reason = verdict.sentence()
            registry.set_tag(version, "reason", reason)
            registry.set_tag(version, CHANGED, str(verdict.changed_on_recent))
            registry.set_tag(version, AGAINST, verdict.champion_version or "")
        if kind == "advance":
            registry.promote(version)
        else:
            logger.info("version %s: %s", version, reason)
        registry.set_tag(version, "verdict", kind)
    outcome = "champion" if kind == "advance" else OUTCOMES[kind]
    return Registration.model_validate({"name": registry.name, "version": version, "outcome": outcome, "reason": reason})


def _decided(verdict: GateVerdict, experience: Experience, settings: PromotionSettings) -> str:
    """`hold` where a person is asked before a version that passed becomes the champion, else what the gates decided."""
    asks = settings.approval == "manual" or experience.bias is not None or verdict.comparison == "not verified"
    return "hold" if verdict.passed and asks else verdict.decision


def _is_open(known: RegisteredVersion, champion: str | None, settings: PromotionSettings) -> bool:
    """Whether a version that is there already may still become the champion: a run was killed in between, or a person has not spoken."""
    if known.verdict == "hold":
        return settings.approval == "automatic" or (known.judged_against or None) != champion
    return known.verdict == PROMOTING


def approve_version(name: str, version: str, workspace: Workspace) -> str | None:
    """Make a version that passed its gates the champion; return the one before it.

    Raises: ImageLoopError for a version that was refused, or that was held against another champion than there is now.
    """
    registry = ModelRegistry(name)
    with promotion_lock(workspace):
        found, before = registry.get(version), registry.champion()
        if found.verdict == "rollback":
            raise ImageLoopError(f"wanted a version that passed its gates, found {version} {found.reason}; train a better one")
        if found.verdict == "hold" and found.judged_against is not None and (found.judged_against or None) != before:
            raise ImageLoopError(
                f"wanted a version that was held against champion {before}, found {version}, held against {found.judged_against or 'none'}; run its "
                f"training again, which judges it anew, or see: python run.py compare {before} {version}"
            )
        registry.promote(version)
        registry.set_tag(version, "verdict", "advance")
        registry.set_tag(version, "approved", "by a person")
    return before
