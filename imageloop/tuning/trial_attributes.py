"""What a trial holds as attributes, its settings and its result, and which trial of a study is the best."""

import logging
import math
from dataclasses import asdict

import optuna
from optuna.trial import FrozenTrial, TrialState

from imageloop.errors import ImageLoopError
from imageloop.model.package import JOINED_BY
from imageloop.training.settings import TrainingSettings
from imageloop.tuning.search_result import TrialResult

logger = logging.getLogger(__name__)
MAX_FAILURES = 3
SETTINGS = "settings"  # an attribute of a trial
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def keep_settings(trial: optuna.Trial, settings: TrainingSettings) -> None:
    """Store what was drawn for a trial."""
    trial.set_user_attr(SETTINGS, settings.model_dump(mode="json"))


def keep_result(trial: optuna.Trial, result: TrialResult) -> None:
    """Store the result with its trial."""
    for name, value in asdict(result).items():
        trial.set_user_attr(name, value)


def report_best(trial: optuna.Trial, kind: str, result: TrialResult) -> None:
    """Say so where a trial is the best so far."""
    before = [one.value for one in trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if one.value is not None]
    if not before or result.loss < min(before):
        drawn = ", ".join(
            f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}" for name, value in trial.params.items()
        )
        logger.info(
            "%s, trial %d: best so far, %.1f %% of the validation images (loss %.4f): %s",
            kind, trial.number, 100 * result.accuracy, result.loss, drawn,
        )  # fmt: skip


def best_trial(studies: list[optuna.Study], max_milliseconds: float | None, *, alone: bool = False) -> FrozenTrial | None:
    """The trial with the lowest loss that is fast enough; `alone`: of a backbone that is not joined to others."""
    limit = max_milliseconds or math.inf
    complete = [trial for study in studies for trial in study.get_trials(states=(TrialState.COMPLETE,))]
    fit = [
        trial
        for trial in complete
        if trial.user_attrs["milliseconds"] <= limit and not (alone and JOINED_BY in str(trial.params["backbone"]))
    ]
    return min(fit, key=lambda trial: math.inf if trial.value is None else trial.value, default=None)


def settings_of(trial: FrozenTrial) -> TrainingSettings:
    """The settings that were drawn for a trial."""
    return TrainingSettings.model_validate(trial.user_attrs[SETTINGS])


def result_of(trial: FrozenTrial) -> TrialResult | None:
    """None where it was pruned, failed, or runs."""
    names = TrialResult.__dataclass_fields__
    return TrialResult(**{name: trial.user_attrs[name] for name in names}) if names.keys() <= trial.user_attrs.keys() else None


def stop_after_failures(study: optuna.Study) -> None:
    """Raises: ImageLoopError where nothing but failures comes of a study."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    if len(states) >= MAX_FAILURES and all(state is TrialState.FAIL for state in states[-MAX_FAILURES:]):
        raise ImageLoopError(
            f"expected trials that end, got {MAX_FAILURES} failures in a row; the log says why, lower batch_size or side_pixels where it "
            "is memory"
        )
