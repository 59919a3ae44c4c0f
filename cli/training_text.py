"""How the commands of training show their results to a user."""

import shlex
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import interval, lines, percent, program, status_text, submitted, summary, table
from cli.serving_text import deployment
from imageloop.data.sources.folder import unwrap
from imageloop.promotion.settings import PromotionSettings
from imageloop.workspace_paths import PROJECT
from operations.training import STEP_NAMES, SubmittedRun, TrainingResult
from operations.tuning import TuningResult

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from operations.approval import Approval, VersionList
    from operations.comparison import Comparison
    from operations.deployment import DeploymentResult


@dataclass(frozen=True)
class TrainedAndDeployed(TrainingResult):
    """A training, and the deployment of the champion after it."""

    deployment: "DeploymentResult | SubmittedRun"


Trained = TrainingResult | TrainedAndDeployed | SubmittedRun


def training(result: Trained) -> "RenderableType":
    """Show the summary of a training, and the next three commands."""
    from rich.console import Group

    if isinstance(result, SubmittedRun):
        return submitted(result)
    seconds = result.seconds
    parts = [f"{name} {seconds[name]:.1f}" for name in ("start_up", *STEP_NAMES) if seconds.get(name, 0) >= 0.05]
    low, high = result.accuracy_interval
    rows = summary(
        ("data version", result.data_version),
        ("classes", ", ".join(result.class_names)),
        ("accuracy", f"{percent(result.accuracy)} on the test images ({interval(low, high)}), {result.precision}"),
        ("model version", f"{result.model_name} {result.model_version}: {result.outcome} ({result.reason})"),
        *(
            [
                (
                    "label issues",
                    f"{result.label_issues}: models that had not seen these images contradict their labels; python run.py report {result.run}",
                )
            ]
            if result.label_issues
            else []
        ),
        *(
            [("unused files", f"{result.unused_files}, each with its reason: python run.py report {result.run}")]
            if result.unused_files
            else []
        ),
        *([("retraining", result.ladder.sentence())] if result.ladder else []),
        ("seconds", f"{seconds['total']:.1f} total: {', '.join(parts)}"),
        ("from cache", ", ".join(result.cached) or "nothing"),
        ("run", f"{result.run} (stack '{result.stack}', MLflow {result.tracking_run})"),
    )
    predictions = lines(*(f"  {one.path}: {one.label} ({percent(one.probability)})" for one in result.tried))
    commands = lines("next:", *(f"  {command}" for command in _next_commands(result)))
    deployed = [deployment(result.deployment)] if isinstance(result, TrainedAndDeployed) else []
    return Group("", rows, "", predictions, "", commands, *deployed)


def tuning(result: TuningResult | SubmittedRun) -> "RenderableType":
    """Show what the search found, then the training of its winner."""
    from rich.console import Group

    if isinstance(result, SubmittedRun):
        return submitted(result)
    gain = result.validation_accuracy - result.default_accuracy
    rows = summary(
        (
            "search",
            f"{result.completed} of {result.trials} trials ran to their end, the best is '{result.winner}' (study '{result.study}' in {result.storage})",
        ),
        (
            "validation",
            f"{percent(result.validation_accuracy)}, loss {result.validation_loss:.4f}; without a search {percent(result.default_accuracy)}, "
            f"{result.default_loss:.4f}" + ("" if gain > 0 else ": the search gained no accuracy"),
        ),
        ("milliseconds", f"{result.milliseconds:.1f} an image on this machine"),
        ("winner", " ".join(f"--set {shlex.quote(override)}" for override in result.overrides) or "the defaults"),
    )
    return Group("", rows, training(result))


def _next_commands(result: TrainingResult) -> list[str]:
    folder = unwrap(Path(result.folder))
    raw = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    image = raw / result.tried[0].path if result.tried else raw
    model = [] if result.model_name == PromotionSettings().model_name else ["--model", result.model_name]
    python = str(program())
    version = [] if result.outcome == "champion" else ["--version", result.model_version]  # predict takes the champion
    command = "tune" if isinstance(result, TuningResult) else "train"  # whose options were given
    more = [shlex.join([python, "run.py", command, *_given_options(), "--set", result.more_epochs])] if result.more_epochs else []
    deploy = shlex.join([python, "run.py", "deploy", *model])
    reason = ["--reason", "TEXT"] if result.outcome == "refused" else []
    approve = [shlex.join([python, "run.py", "approve", result.model_version, *model, *reason])]
    return [
        *(approve if result.outcome in ("awaiting approval", "refused") else []),
        *([deploy] if result.outcome == "champion" and not isinstance(result, TrainedAndDeployed) else []),
        *(f"{again}   # the last epoch was the best" for again in more),
        shlex.join([python, "run.py", "predict", str(image), *model, *version, "--explain", "heatmaps"]),
        *([] if isinstance(result, TuningResult) else _other_trainings(python, result.seed + 1)),
        shlex.join(["make", *([] if Path.cwd() == PROJECT else ["-C", str(PROJECT)]), "ui"]),
    ]


def _other_trainings(python: str, seed: int) -> list[str]:
    """The same training with another seed, and a search from it."""
    train = shlex.join([python, "run.py", "train", *_given_options(), "--set", f"training.seed={seed}"])
    if any(option.partition("=")[0] == "--preset" for option in sys.argv[2:]):  # which a search has not
        return [train]
    return [train, f"{shlex.join([python, 'run.py', 'tune', *_given_options()])}   # searches better settings"]


def _given_options() -> list[str]:
    """The options of this training, without those that the next one need not repeat."""
    options = [word for word in sys.argv[2:] if word not in ("--deploy", "--no-cache", "--json")]
    seeds = {
        place for place, (name, value) in enumerate(pairwise(options)) if name == "--set" and value.startswith("training.seed=")
    }
    return [word for place, word in enumerate(options) if place not in seeds and place - 1 not in seeds]


def comparison(result: "Comparison") -> "Group":
    """Show the metrics of each version side by side, and how the accuracies differ from that of the first."""
    from rich.console import Group

    headers = [f"version {one.version}" for one in result.versions]
    rows = table("", *headers, numbers=tuple(headers))
    rows.add_row("backbone", *(one.backbone for one in result.versions))
    rows.add_row("computed in", *(one.precision for one in result.versions))
    for name in result.versions[0].metrics:
        if all(name in one.metrics for one in result.versions):
            rows.add_row(name, *(f"{one.metrics[name]:.4g}" for one in result.versions))
    first = result.versions[0].version
    differences = [
        f"accuracy of version {one.version}, less that of version {first}, on the same {result.num_images} images: "
        f"{one.difference.mean:+.3f} (95 %: {one.difference.low:+.3f} to {one.difference.high:+.3f})"
        for one in result.versions
        if one.difference
    ]
    return Group(rows, "", *differences)


def approval(result: "Approval") -> str:
    """Say which version is the champion now, and which was before."""
    return f"version {result.champion} of '{result.model_name}' is the champion now; before: {result.before or 'none'}"


def versions(result: "VersionList") -> "RenderableType":
    """Show a row for each version: its number, status, accuracy, date, model and data, and the reason; and what awaits a user."""
    from rich.console import Group

    if not result.versions:
        others = f"; these have versions: {', '.join(result.others)}" if result.others else ""
        return (
            f"'{result.model_name}' has no versions yet; python run.py train --model {result.model_name} makes the first{others}"
        )
    rows = table("version", "status", "traffic", "accuracy", "made", "model", "data", "reason", numbers=("version", "traffic"))
    for one in result.versions:
        low, high = one.interval or (0.0, 0.0)
        accuracy = "" if one.accuracy is None else percent(one.accuracy)
        accuracy += f" ({percent(low)} to {percent(high)})" if one.interval else ""
        status = status_text(result.statuses[one.version])
        share = (result.traffic or {}).get(one.version)
        traffic = "" if share is None else f"{share} %"
        rows.add_row(
            one.version, status, traffic, accuracy, one.made_at[:16].replace("T", " "), one.backbone, one.data, one.reason
        )
    model = [] if result.model_name == PromotionSettings().model_name else ["--model", result.model_name]
    waiting = [
        shlex.join([str(program()), "run.py", "approve", version, *model])
        for version, status in result.statuses.items()
        if status == "awaiting"
    ]
    commands = waiting[:1]
    if result.traffic is not None and result.champion is not None and not result.traffic.get(result.champion):
        commands.append(
            f"{shlex.join([str(program()), 'run.py', 'deploy', *model])}   # the champion, version {result.champion}, has no traffic"
        )
    return Group(rows, "", lines("next:", *(f"  {command}" for command in commands))) if commands else rows
