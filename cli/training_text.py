"""How the commands of training show their results to a user."""

import csv
import io
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.output import interval, percent, program, row
from cli.serving_text import deployment
from imageloop.data.sources.folder import unwrap
from imageloop.promotion.settings import PromotionSettings
from operations.training import STEP_NAMES, SubmittedRun, TrainingResult

if TYPE_CHECKING:
    from operations.approval import Approval, VersionList
    from operations.comparison import Comparison
    from operations.deployment import DeploymentResult
    from operations.prediction import PredictionTable

STATUS_WORDS = {"hold": "awaiting", "rollback": "refused"}


@dataclass(frozen=True)
class TrainedAndDeployed(TrainingResult):
    """A training, and the deployment of the champion after it."""

    deployment: "DeploymentResult | SubmittedRun"


Trained = TrainingResult | TrainedAndDeployed | SubmittedRun


def submitted(result: SubmittedRun) -> str:
    return f"the run was submitted to the stack '{result.stack}'; its dashboard shows the rest"


def training(result: Trained) -> str:
    """The summary of a training, and the next three commands."""
    if isinstance(result, SubmittedRun):
        return submitted(result)
    seconds = result.seconds
    parts = [f"{name} {seconds[name]:.1f}" for name in ("start_up", *STEP_NAMES) if seconds[name] >= 0.05]
    low, high = result.accuracy_interval
    lines = [
        "",
        row("data version", result.data_version),
        row("classes", ", ".join(result.class_names)),
        row("accuracy", f"{percent(result.accuracy)} on the test images ({interval(low, high)}), {result.precision}"),
        row("model version", f"{result.model_name} {result.model_version}: {result.outcome} ({result.reason})"),
        row("seconds", f"{seconds['total']:.1f} total: {', '.join(parts)}"),
        row("from cache", ", ".join(result.cached) or "nothing"),
        row("run", f"{result.run} (stack '{result.stack}', MLflow {result.tracking_run})"),
        "",
        *(f"  {one.path}: {one.label} ({percent(one.probability)})" for one in result.tried),
        "",
        "next:",
        *(f"  {command}" for command in _next_commands(result)),
    ]
    text = "\n".join(lines)
    return f"{text}\n{deployment(result.deployment)}" if isinstance(result, TrainedAndDeployed) else text


def _next_commands(result: TrainingResult) -> list[str]:
    folder = unwrap(Path(result.folder))
    raw = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    image = raw / result.tried[0].path if result.tried else raw
    model = [] if result.model_name == PromotionSettings().model_name else ["--model", result.model_name]
    again = [word for word in sys.argv[2:] if word not in ("--deploy", "--no-cache", "--json")]
    python = str(program())
    return [
        shlex.join([python, "run.py", "predict", str(image), *model, "--explain", "heatmaps"]),
        shlex.join([python, "run.py", "train", *again, "--set", f"training.seed={result.seed + 1}"]),
        shlex.join([str(program("zenml")), "login", "--local"]),
    ]


def predictions(result: "PredictionTable") -> str:
    """A line for each image, and the reasons of those that were refused."""
    width = max((len(one.path) for one in result.predictions), default=4)
    lines = [f"{one.path:<{width}}  {one.label}  {percent(one.probability)}" for one in result.predictions]
    if result.refused:
        lines += ["", f"refused {len(result.refused)}:", *(f"  {one.path}: {one.reason}" for one in result.refused)]
    lines += ["", f"{len(result.predictions)} images by {result.model_name} {result.model_version} ({result.precision})"]
    return "\n".join(lines)


def csv_table(result: "PredictionTable") -> str:
    """Columns path, label, probability; refused images have neither label nor probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "probability"])
    writer.writerows((one.path, one.label, f"{one.probability:.6f}") for one in result.predictions)
    writer.writerows((one.path, "", "") for one in result.refused)
    return text.getvalue().rstrip("\n")


def comparison(result: "Comparison") -> str:
    """The metrics of both versions side by side, and the paired difference of their accuracies."""
    first, second = result.metrics
    names = [name for name in first if name in second]
    width = max(map(len, names))
    headers = [f"version {version}" for version in result.versions]
    lines = [f"{'':<{width}}  {headers[0]:>12}  {headers[1]:>12}"]
    lines += [f"{name:<{width}}  {first[name]:>12.4g}  {second[name]:>12.4g}" for name in names]
    change = result.accuracy_difference
    lines += [
        "",
        f"accuracy, second less first, on the same {result.num_images} images: {change.mean:+.3f} "
        f"(95 %: {change.low:+.3f} to {change.high:+.3f})",
    ]
    return "\n".join(lines)


def approval(result: "Approval") -> str:
    return f"version {result.champion} of '{result.model_name}' is the champion now; before: {result.before or 'none'}"


def versions(result: "VersionList") -> str:
    """A line for each version: its number, its status, the reason."""
    if not result.versions:
        return f"'{result.model_name}' has no versions yet; python run.py train makes the first"
    lines = []
    for one in result.versions:
        status = "champion" if one.version == result.champion else STATUS_WORDS.get(one.verdict, "")
        lines.append(f"{one.version:>4}  {status:<9} {one.reason}")
    return "\n".join(lines)
