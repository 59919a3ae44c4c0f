"""Run the training pipeline on the active stack."""

import logging
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imageloop.adapters.git import commit_at
from imageloop.adapters.ray_engine import check_address
from imageloop.adapters.step_resources import step_options
from imageloop.adapters.zenml_client import check_parts, finished_run, open_stack, runs_elsewhere
from imageloop.adapters.zenml_runs import named_run
from imageloop.data.raw_folder import held_source, is_placed
from imageloop.data.settings import DataSettings, DvcSource, FolderSource, only_here
from imageloop.data.sources.folder import unwrap
from imageloop.data.sources.source_kinds import fingerprint
from imageloop.errors import SettingsError
from imageloop.training.devices import device_of
from imageloop.training.retraining_ladder import Ladder
from imageloop.training.settings import BACKBONE_SIDES, TrainingSettings
from imageloop.training.user_weights import bring_weights, refuse_unshared_weights
from imageloop.workspace_paths import Workspace
from steps.pipeline_settings import TrainSettings

logger = logging.getLogger(__name__)
EXPERIMENT = "imageloop"
NUM_SAMPLES = 4
SEARCH = "search"  # the step that the tuning pipeline has beside those of a training
STEP_NAMES = (
    "ingest", "validate", "split", "version", "prepare", "collect_feedback", SEARCH, "train", "find_label_issues", "calibrate", "export",
    "evaluate", "gate", "sign", "register",
)  # fmt: skip


@dataclass(frozen=True)
class SubmittedRun:
    """A run that the stack's orchestrator took over without waiting for its end."""

    stack: str
    submitted: bool = True


@dataclass(frozen=True)
class SamplePrediction:
    """One test image and its prediction. Units: `probability` in [0, 1]."""

    path: str
    label: str
    probability: float


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training. Units: accuracies in [0, 1]; `seconds` by step, `start_up` and `total` beside them.

    `run` is ZenML's name of the run, `tracking_run` MLflow's id. `cached` names the steps that came from the cache;
    `tried` are predictions for some test images. `ladder`: the ways to retrain that were compared, None for a training on images alone.
    `label_issues`: how many labels of train and validation look wrong; `unused_files`: how many files were quarantined.
    `more_epochs`: the setting that allows more epochs, and a value, where the last epoch that was allowed was the best.
    """

    stack: str
    run: str
    tracking_run: str
    data_version: str
    class_names: list[str]
    accuracy: float
    accuracy_interval: tuple[float, float]
    folder: str
    seed: int
    model_name: str
    model_version: str
    outcome: str
    reason: str
    precision: str
    seconds: dict[str, float]
    cached: list[str]
    tried: list[SamplePrediction]
    ladder: Ladder | None
    more_epochs: str | None
    label_issues: int
    unused_files: int


def train(settings: TrainSettings, *, use_cache: bool = True) -> TrainingResult | SubmittedRun:
    """Train on labelled images and register the model.

    Raises: ImageLoopError with the sentence of the step that failed.
    """

    def start(run_name: str, workspace: Workspace) -> Any:
        from zenml import Model

        from imageloop.lifecycle.feedback_for_training import labels_state
        from pipelines.training import training

        name = settings.promotion.model_name
        return training.with_options(
            enable_cache=use_cache, model=Model(name=name), run_name=run_name, steps=step_options(set(STEP_NAMES) - {SEARCH})
        )(
            settings.data, settings.training, settings.promotion, settings.feedback, settings.training.side_pixels,
            reading_of(settings.data, workspace), labels_state(settings.feedback, name, workspace),
        )  # fmt: skip

    return run_training("training", settings, start, lambda run, stack: result_of(run, settings, stack))


def run_training[Result: TrainingResult](
    pipeline: str,
    settings: TrainSettings,
    start: Callable[[str, Workspace], Any],
    result_of_run: Callable[[Any, str], Result],
    backbones: Collection[str] = (),
) -> Result | SubmittedRun:
    """Check the parts of the active stack, run a pipeline that trains, and read its result from the run.

    `start`: by its name. `backbones`: further ones that it uses.
    """
    started = time.monotonic()
    _check_backbones({*settings.training.backbones, *backbones})
    client = open_stack()
    if runs_elsewhere(client):
        _refuse_local_sources(settings)
    else:
        _check_this_machine(settings.training)
    bring_weights(settings.training, Workspace.current())
    check_parts(client)
    from imageloop.adapters import mlflow_tracking

    stack, workspace = client.active_stack_model.name, Workspace.current()
    mlflow_tracking.ensure_experiment(mlflow_tracking.connect(), EXPERIMENT, workspace)
    mlflow_tracking.close_abandoned_runs(EXPERIMENT)
    begun = time.monotonic()
    with named_run(client, pipeline, settings.promotion.model_name, workspace) as run_name:
        run = start(run_name, workspace)
    if run is None:  # an orchestrator that does not wait
        return SubmittedRun(stack)
    result = result_of_run(finished_run(client, run.id), stack)
    seconds = {"start_up": begun - started, **result.seconds, "total": time.monotonic() - started}
    return replace(result, seconds=seconds)


def _check_this_machine(settings: TrainingSettings) -> None:
    """Refuse what this machine has not now, and not minutes later. Raises: SettingsError."""
    check_address()
    if settings.device == "cuda":
        device_of(settings.device)


def _check_backbones(names: set[str]) -> None:
    """Raises: ImageLoopError for a name that timm does not know."""
    for name in names - set(BACKBONE_SIDES):
        from imageloop.model.backbones import check_backbone  # loads PyTorch

        check_backbone(name)


def _refuse_local_sources(settings: TrainSettings) -> None:
    found = only_here(settings.data.source) or (str(settings.data.retained_images) if settings.data.retained_images else None)
    if found is not None:
        raise SettingsError(
            f"data: expected images that pods can reach (an archive by its URL, Kaggle, a DVC repository by its URL), got '{found}' of "
            "this machine; track it with DVC, or put an archive of it where the cluster can read it"
        )
    refuse_unshared_weights(settings.training)


def reading_of(settings: DataSettings, workspace: Workspace) -> str:
    """Return a fingerprint of the source's content, and the identity of `data/raw`, which changes with the data set in it."""
    workspace = replace(workspace, data_set=settings.data_set)
    source, now, held = settings.source, fingerprint(settings), held_source(workspace)
    if isinstance(source, FolderSource) and not is_placed(settings, workspace):
        return now
    if isinstance(source, DvcSource):
        commit = commit_at(source.repository, source.revision)
        if not commit and held.startswith(now):
            logger.warning("the content of '%s' cannot be read now; using what was fetched last", source.repository)
            return held
        now = f"{now}.{commit[:16]}"
    return held if held.startswith(f"{now}-") else f"{now}-{uuid.uuid4().hex[:8]}"


def result_of(run: Any, settings: TrainSettings, stack: str) -> TrainingResult:
    """The result of a finished run of a pipeline that trains."""
    steps = run.steps
    registration = steps["register"].outputs["registration"][0].load()
    evaluation = steps["evaluate"].outputs["evaluation"][0].load()
    low, high = evaluation.intervals["accuracy"]
    return TrainingResult(
        stack=stack,
        run=str(run.name),
        tracking_run=steps["train"].outputs["tracking_run"][0].load(),
        data_version=steps["version"].outputs["data_version"][0].load().version,
        class_names=evaluation.class_names,
        accuracy=evaluation.scores.accuracy,
        accuracy_interval=(low, high),
        folder=steps["ingest"].outputs["raw_version"][0].load().folder,
        seed=settings.training.seed,
        model_name=registration.name,
        model_version=registration.version,
        outcome=registration.outcome,
        reason=registration.reason,
        precision=evaluation.precision,
        seconds={name: _seconds(steps[name]) for name in STEP_NAMES if name in steps},
        cached=[name for name in STEP_NAMES if name in steps and steps[name].status.value == "cached"],
        tried=_predict_samples(evaluation.predictions, steps, settings),
        ladder=steps["collect_feedback"].outputs["feedback"][0].load().ladder if settings.feedback.enabled else None,
        more_epochs=_more_epochs(steps["train"].outputs["trained_model"][0].run_metadata, settings),
        label_issues=int(steps["find_label_issues"].run_metadata.get("num_issues", 0)),
        unused_files=int(steps["split"].outputs["catalog"][0].run_metadata.get("quarantined", 0)),
    )


def _more_epochs(epochs: dict[str, Any], settings: TrainSettings) -> str | None:
    """The setting that doubles the epochs, where the last one was the best and no other limit ended the training."""
    model = settings.training.model
    allowed = model.loop.max_epochs
    if (
        getattr(model, "fine_tune_blocks", 0)
        or not epochs.get("epochs")
        or not epochs["epochs"] == epochs["best_epoch"] == allowed
    ):
        return None
    return f"training.model.loop.max_epochs={2 * allowed}"


def _seconds(step: Any) -> float:
    if step.status.value == "cached" or not step.end_time:
        return 0.0
    return float((step.end_time - step.start_time).total_seconds())


def _predict_samples(predictions: Any, steps: dict[str, Any], settings: TrainSettings) -> list[SamplePrediction]:
    """A few test images through the registered package, as a user's own images would go."""
    raw = unwrap(Path(steps["ingest"].outputs["raw_version"][0].load().folder))  # in the order of the files
    chosen = predictions.sort_values("sha256").groupby("label").head(max(1, NUM_SAMPLES // predictions["label"].nunique()))
    chosen = chosen[[(raw / path).is_file() for path in chosen["path"]]][:NUM_SAMPLES]
    if not len(chosen):
        return []
    if steps["register"].status.value == "cached":  # the same package has predicted them before, and to open it takes a second
        return [SamplePrediction(row.path, row.predicted, round(float(row.confidence), 6)) for row in chosen.itertuples()]
    from operations.prediction import predict

    registration = steps["register"].outputs["registration"][0].load()
    result = predict([raw / path for path in chosen["path"]], settings.promotion.model_name, registration.version)
    return [SamplePrediction(str(Path(row.path).relative_to(raw)), row.label, row.probability) for row in result.predictions]
