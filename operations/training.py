"""Run the training pipeline on the active stack, and say what came of it."""

import logging
import shlex
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from imageloop.adapters.git import commit_at
from imageloop.adapters.zenml_client import check_parts, finished_run, open_stack, runs_elsewhere
from imageloop.data.raw_folder import held_source, is_placed
from imageloop.data.settings import DvcSource, FolderSource, only_here
from imageloop.data.sources.dispatch import fingerprint
from imageloop.data.sources.folder import unwrap
from imageloop.errors import SettingsError
from imageloop.promotion.settings import PromotionSettings
from imageloop.training.devices import device_of
from imageloop.workspace_paths import Workspace
from steps.pipeline_settings import TrainSettings

logger = logging.getLogger(__name__)
EXPERIMENT = "imageloop"
NUM_TRIED = 4
STEP_NAMES = (
    "ingest", "validate", "split", "version", "prepare", "collect_feedback", "train", "find_label_issues", "calibrate", "export",
    "evaluate", "gate", "sign", "register",
)  # fmt: skip


def train(settings: TrainSettings, *, use_cache: bool = True) -> dict[str, Any]:
    """Pictures in, a registered model out.

    Raises: ImageLoopError with the sentence of the step that failed.
    """
    started = time.monotonic()
    client = open_stack()
    if runs_elsewhere(client):
        _refuse_what_only_this_machine_has(settings)
    elif settings.training.device == "cuda":
        device_of(settings.training.device)  # refused here, and not minutes later
    check_parts(client)
    from zenml import Model

    from imageloop.adapters import mlflow_tracking
    from imageloop.lifecycle.feedback import labels_state
    from pipelines.training import training

    workspace = Workspace.current()
    mlflow_tracking.ensure_experiment(mlflow_tracking.connect(), EXPERIMENT, workspace)
    configured = training.with_options(enable_cache=use_cache, model=Model(name=settings.promotion.model_name))
    begun = time.monotonic()
    side = settings.training.side_pixels
    run = configured(
        settings.data, settings.training, settings.promotion, settings.experience, side, reading_of(settings, workspace),
        labels_state(settings.experience, settings.promotion.model_name, workspace),
    )  # fmt: skip
    if run is None:  # an orchestrator that does not wait
        return {"stack": client.active_stack_model.name, "submitted": True}
    result = _summary(finished_run(client, run.id), settings)
    return result | {
        "stack": client.active_stack_model.name,
        "seconds": {"start_up": begun - started, **result["seconds"], "together": time.monotonic() - started},
    }


def _refuse_what_only_this_machine_has(settings: TrainSettings) -> None:
    found = only_here(settings.data.source) or (str(settings.data.kept) if settings.data.kept else None)
    if found is not None:
        raise SettingsError(
            f"data: wanted pictures that pods can reach (an archive by its URL, Kaggle, a DVC repository by its URL), found '{found}' of "
            "this machine; track it with DVC, or put an archive of it where the cluster can read it"
        )


def reading_of(settings: TrainSettings, workspace: Workspace) -> str:
    """What the source holds now, and which filling of `data/raw` it is: another one where another set stands there."""
    source, now, held = settings.data.source, fingerprint(settings.data), held_source(workspace)
    if isinstance(source, FolderSource) and not is_placed(settings.data, workspace):
        return now
    if isinstance(source, DvcSource):
        commit = commit_at(source.repository, source.revision)
        if not commit and held.startswith(now):
            logger.warning("what '%s' holds now cannot be found out: going by what was fetched last", source.repository)
            return held
        now = f"{now}.{commit[:16]}"
    return held if held.startswith(f"{now}-") else f"{now}-{uuid.uuid4().hex[:8]}"


def _summary(run: Any, settings: TrainSettings) -> dict[str, Any]:
    steps = run.steps
    registration = steps["register"].outputs["registration"][0].load()
    evaluation = steps["evaluate"].outputs["evaluation"][0].load()
    version = steps["version"].outputs["data_version"][0].load()
    low, high = evaluation.intervals["accuracy"]
    return {
        "run": str(run.name),
        "tracking_run": steps["train"].outputs["tracking_run"][0].load(),
        "data_version": version.version,
        "class_names": evaluation.class_names,
        "accuracy": evaluation.scores.accuracy,
        "accuracy_interval": [low, high],
        "folder": steps["ingest"].outputs["raw_version"][0].load().folder,
        "seed": settings.training.seed,
        "model_name": registration.name,
        "model_version": registration.version,
        "outcome": registration.outcome,
        "reason": registration.reason,
        "precision": evaluation.precision,
        "seconds": {name: _seconds(steps[name]) for name in STEP_NAMES},
        "cached": [name for name in STEP_NAMES if steps[name].status.value == "cached"],
        "tried": _try_on_some(evaluation.predictions, steps, settings),
    }


def _seconds(step: Any) -> float:
    if step.status.value == "cached" or not step.end_time:
        return 0.0
    return float((step.end_time - step.start_time).total_seconds())


def _try_on_some(predictions: Any, steps: dict[str, Any], settings: TrainSettings) -> list[dict[str, Any]]:
    """A few test pictures through the registered package, as a user's own pictures would go."""
    raw = unwrap(Path(steps["ingest"].outputs["raw_version"][0].load().folder))  # as the names were found
    chosen = predictions.sort_values("sha256").groupby("label").head(max(1, NUM_TRIED // predictions["label"].nunique()))
    chosen = chosen[[(raw / path).is_file() for path in chosen["path"]]][:NUM_TRIED]
    if not len(chosen):
        return []
    if steps["register"].status.value == "cached":  # the same package has answered them before, and to open it takes a second
        return [
            {"path": row.path, "label": row.predicted, "probability": round(float(row.confidence), 6)}
            for row in chosen.itertuples()
        ]
    from operations.prediction import predict

    registration = steps["register"].outputs["registration"][0].load()
    result = predict([raw / path for path in chosen["path"]], settings.promotion.model_name, registration.version)
    return [row | {"path": str(Path(row["path"]).relative_to(raw))} for row in result["predictions"]]


def describe(result: dict[str, Any]) -> str:
    """The summary for a person, and the next three commands, with what this one was told."""
    if result.get("submitted"):
        return f"the run was handed to the stack '{result['stack']}'; its dashboard shows the rest"
    low, high = result["accuracy_interval"]
    seconds = result["seconds"]
    parts = [f"{name} {seconds[name]:.1f}" for name in ("start_up", *STEP_NAMES) if seconds[name] >= 0.05]
    lines = [
        "",
        f"data version   {result['data_version']}",
        f"classes        {', '.join(result['class_names'])}",
        f"accuracy       {result['accuracy']:.1%} on the test pictures (95 %: {low:.1%} to {high:.1%}), {result['precision']}",
        f"model version  {result['model_name']} {result['model_version']}: {result['outcome']} ({result['reason']})",
        f"seconds        {seconds['together']:.1f} together: {', '.join(parts)}",
        f"from cache     {', '.join(result['cached']) or 'nothing'}",
        f"run            {result['run']} (stack '{result['stack']}', MLflow {result['tracking_run']})",
        "",
        *(f"  {row['path']}: {row['label']} ({row['probability']:.1%})" for row in result["tried"]),
        "",
        "next:",
        *(f"  {command}" for command in _next_commands(result)),
    ]
    return "\n".join(lines)


def _next_commands(result: dict[str, Any]) -> list[str]:
    python, raw = (
        path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        for path in (Path(sys.executable), unwrap(Path(result["folder"])))
    )
    picture = raw / result["tried"][0]["path"] if result["tried"] else raw
    model = [] if result["model_name"] == PromotionSettings().model_name else ["--model", result["model_name"]]
    again = [word for word in sys.argv[2:] if word not in ("--deploy", "--no-cache", "--json")]
    return [
        shlex.join([str(python), "run.py", "predict", str(picture), *model, "--explain", "heatmaps"]),
        shlex.join([str(python), "run.py", "train", *again, "--set", f"training.seed={result['seed'] + 1}"]),
        shlex.join([str(python.parent / "zenml"), "login", "--local"]),
    ]
