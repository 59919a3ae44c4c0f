"""From a verdict to a version in the registry, one promotion at a time."""

import json
import logging

from adapters.champion import champion_on, compare_on_recent
from adapters.registry import CHANGED, MADE_WITH, ModelRegistry, promotion_lock
from classifier.data.prepared import PreparedPictures
from classifier.errors import ImageLoopError
from classifier.promotion.evaluation import Evaluation
from classifier.promotion.gates import GateVerdict, judge
from classifier.promotion.records import MadeWith, ModelPackage, Registration
from classifier.promotion.settings import PromotionSettings
from classifier.training.experience import Experience
from classifier.workspace import Workspace

logger = logging.getLogger(__name__)
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
    with promotion_lock(workspace):
        champion, known = registry.champion(), registry.find(digest)
        if known is not None and (known.verdict != PROMOTING or known.version == champion):
            if known.verdict == PROMOTING:
                registry.set_tag(known.version, "verdict", "advance")
            outcome = (
                "champion" if known.version == champion else "refused" if known.verdict == "rollback" else "waiting for approval"
            )
            return Registration(
                name=registry.name, version=known.version, outcome=outcome, reason="these files are registered already"
            )
        if champion != verdict.champion_version:
            logger.info("version %s became the champion meanwhile: the gates judge again", champion)
            recent = compare_on_recent(package.folder, experience, settings.model_name)
            verdict = judge(evaluation, champion_on(prepared, settings.model_name), settings.gates, recent)
        waits = verdict.passed and settings.approval == "manual"
        kind = "hold" if waits else verdict.decision
        tags = {
            "verdict": PROMOTING if kind == "advance" else kind,
            "reason": verdict.sentence(),
            "package_digest": digest,
            "figures": json.dumps(evaluation.summary()),
            MADE_WITH: made_with.model_dump_json(),
            CHANGED: str(verdict.changed_on_recent),
        }
        if known is None:
            version = registry.register(package.folder, run_id, tags)
        else:
            version = known.version
            for key, value in tags.items():
                registry.set_tag(version, key, value)
        if kind == "advance":
            registry.promote(version)
            registry.set_tag(version, "verdict", kind)
    outcome = {"advance": "champion", "hold": "waiting for approval"}.get(kind, "refused")
    return Registration.model_validate(
        {"name": registry.name, "version": version, "outcome": outcome, "reason": verdict.sentence()}
    )


def approve_version(name: str, version: str, workspace: Workspace) -> str | None:
    """Make a version that passed its gates the champion; return the one before it.

    Raises: ImageLoopError for a version that was refused.
    """
    registry = ModelRegistry(name)
    with promotion_lock(workspace):
        found, before = registry.get(version), registry.champion()
        if found.verdict == "rollback":
            raise ImageLoopError(f"wanted a version that passed its gates, found {version} {found.reason}; train a better one")
        registry.promote(version)
        registry.set_tag(version, "verdict", "advance")
        registry.set_tag(version, "approved", "by a person")
    return before
