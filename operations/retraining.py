"""Retrain on feedback data, and roll out the result."""

import time
from typing import TYPE_CHECKING

from imageloop.adapters.quiet_libraries import quiet_libraries
from imageloop.adapters.zenml_client import open_store
from imageloop.adapters.zenml_failures import failed_step
from imageloop.monitoring.decision_input import HELPED
from imageloop.own_process import run_in_own_process
from imageloop.records.store.database import Decision
from imageloop.training.settings import DriftAugmentation
from imageloop.workspace_paths import Workspace
from steps.pipeline_settings import MonitorSettings, TrainSettings

if TYPE_CHECKING:
    from operations.training import SubmittedRun, TrainingResult


def carry_out(settings: MonitorSettings, decision: Decision) -> str:
    """Retrain and roll out in a process of its own: torch and the images take gigabytes, which a monitor should not keep.

    The outcome as a sentence, which begins with 'refused' where a setting, the data or the stack forbid it.
    """
    return run_in_own_process(_outcome, settings, decision)


def _outcome(settings: MonitorSettings, decision: Decision) -> str:
    quiet_libraries()
    try:
        return retrain_and_roll_out(settings, decision)
    except Exception as error:
        failure = failed_step(error)
        if failure is None:
            raise
        return f"refused: {failure}"


def retrain_and_roll_out(settings: MonitorSettings, decision: Decision) -> str:
    """Retrain, and roll the new champion out; return the outcome as a sentence.

    A champion that was trained after the decision, and whose rollout was interrupted, is rolled out: another retraining would
    have no new labels.
    """
    from imageloop.adapters.mlflow_registry import ModelRegistry
    from imageloop.lifecycle.rollback import record_noted_rollbacks
    from operations.deployment import deploy
    from operations.training import SubmittedRun

    started = time.monotonic()
    open_store()
    record_noted_rollbacks(Workspace.current())
    registry = ModelRegistry(settings.monitoring.model_name)
    version, compared = registry.champion(), ""
    if version is None or not registry.learnt_since(version, decision.time):
        trained = _retrain(settings, decision.metrics.get("drift_augmentation"))
        if isinstance(trained, SubmittedRun):
            return f"submitted to the stack '{trained.stack}'"
        compared = f" ({trained.ladder.sentence()})" if trained.ladder else ""
        if trained.outcome != "champion":
            return f"{trained.outcome}: version {trained.model_version} {trained.reason}{compared}"
        version = trained.model_version
    trained_after = time.monotonic() - started
    served = deploy(settings.rollout)
    total = time.monotonic() - started
    if isinstance(served, SubmittedRun):
        return f"version {version}: its rollout was submitted to the stack '{served.stack}'"
    return (
        f"{HELPED}: version {served.version} serves, {total:.0f} s after the decision "
        f"(retraining {trained_after:.0f}, rollout {total - trained_after:.0f}), {served.outcome}{compared}"
    )


def _retrain(settings: MonitorSettings, drift_augmentation: dict[str, float] | None) -> "TrainingResult | SubmittedRun":
    """Train on labelled predictions, or with drift augmentation."""
    from operations import training

    learning = {
        "enabled": True,
        "drift_augmentation": DriftAugmentation(**drift_augmentation) if drift_augmentation else None,
        "database": settings.monitoring.database,
        "deployment": settings.monitoring.deployment,
    }
    feedback = settings.training.feedback.model_copy(update=learning)
    return training.train(settings_of_champion(settings.training).model_copy(update={"feedback": feedback}))


def settings_of_champion(settings: TrainSettings) -> TrainSettings:
    """The data, training and gate settings of the champion, where the monitor has none of its own."""
    from imageloop.adapters.mlflow_registry import ModelRegistry

    registry = ModelRegistry(settings.promotion.model_name)
    champion = registry.champion()
    champions = registry.made_with(champion) if champion else None
    if champions is None:
        return settings
    defaults = TrainSettings()
    given = {"data": settings.data != defaults.data, "training": settings.training != defaults.training}
    repeated: dict[str, object] = {name: getattr(champions, name) for name, is_given in given.items() if not is_given}
    if given["data"] and not settings.data.data_set:
        repeated["data"] = settings.data.model_copy(update={"data_set": champions.data.data_set})
    if champions.gates is not None and settings.promotion.gates == defaults.promotion.gates:
        repeated["promotion"] = settings.promotion.model_copy(update={"gates": champions.gates})
    return settings.model_copy(update=repeated)
