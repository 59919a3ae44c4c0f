"""Run the tuning pipeline on the active stack: search settings, train the winner, register it."""

from dataclasses import dataclass
from typing import Any

from imageloop.adapters.step_resources import step_options
from imageloop.training.settings import TrainingSettings
from imageloop.workspace_paths import Workspace
from operations.training import STEP_NAMES, SubmittedRun, TrainingResult, reading_of, result_of, run_training
from steps.pipeline_settings import TuneSettings


@dataclass(frozen=True)
class TuningResult(TrainingResult):
    """A search, and the training of its winner.

    `study` and `storage`: where Optuna has it. `trials` began, `completed` ended. Validation: of the winner, and without a search. Units:
    accuracies in [0, 1], `milliseconds` of one image. `overrides`: the winner as settings of `train`.
    """

    study: str
    storage: str
    winner: str
    trials: int
    completed: int
    validation_accuracy: float
    validation_loss: float
    default_accuracy: float
    default_loss: float
    milliseconds: float
    overrides: list[str]


def tune(settings: TuneSettings, *, use_cache: bool = True) -> TuningResult | SubmittedRun:
    """Search settings of a training, train the winner and register it.

    Raises: ImageLoopError with the sentence of the step that failed.
    """

    def start(run_name: str, workspace: Workspace) -> Any:
        from zenml import Model

        from pipelines.tuning import tuning

        name = settings.promotion.model_name
        return tuning.with_options(
            enable_cache=use_cache, model=Model(name=name), run_name=run_name, steps=step_options(STEP_NAMES)
        )(
            settings.data, settings.training, settings.promotion, settings.search, settings.training.side_pixels,
            reading_of(settings.data, workspace),
        )  # fmt: skip

    return run_training(
        "tuning",
        settings.of_training(settings.training),
        start,
        lambda run, stack: _result_of(run, settings, stack),
        settings.search.space.backbones,
    )


def _result_of(run: Any, settings: TuneSettings, stack: str) -> TuningResult:
    found = run.steps["search"].outputs["search"][0].load()
    trained = result_of(run, settings.of_training(found.settings), stack)
    return TuningResult(
        **vars(trained),
        study=found.study,
        storage=found.storage,
        winner=found.winner,
        trials=len(found.trials),
        completed=found.completed,
        validation_accuracy=found.best.accuracy,
        validation_loss=found.best.loss,
        default_accuracy=found.default.accuracy,
        default_loss=found.default.loss,
        milliseconds=found.best.milliseconds,
        overrides=_overrides(found.settings),
    )


def _overrides(training: TrainingSettings) -> list[str]:
    """What differs from the defaults, as `--set` takes it."""
    from imageloop.adapters.mlflow_tracking import flatten

    defaults = dict(flatten({"training": TrainingSettings().model_dump(mode="json")}))
    found = dict(flatten({"training": training.model_dump(mode="json")}))
    return [f"{name}={value}" for name, value in found.items() if defaults.get(name) != value]
