"""What predictions show to a user."""

import csv
import io
from typing import TYPE_CHECKING

from cli.output import percent, submitted, summary, table

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

    from operations.batch_prediction import BatchPrediction
    from operations.prediction import PredictionTable
    from operations.training import SubmittedRun

MAX_CLASSES = 20
IN_DISTRIBUTION = {True: "yes", False: "no", None: ""}  # None: the package has no novelty reference


def predictions(result: "PredictionTable") -> "Group":
    """Show a row for each image, and the reasons of those that were refused."""
    from rich.console import Group

    parts: list[RenderableType] = []
    if result.predictions:
        predicted = table("image", "label", "probability", "in distribution", numbers=("probability",))
        for image in result.predictions:
            predicted.add_row(image.path, image.label, percent(image.probability), IN_DISTRIBUTION[image.in_distribution])
        parts += [predicted, ""]
    if result.refused:
        refused = table(f"refused {len(result.refused)}", "reason")
        for file in result.refused:
            refused.add_row(file.path, file.reason)
        parts += [refused, ""]
    count = len(result.predictions)
    return Group(
        *parts, f"{count} image{'' if count == 1 else 's'} by {result.model_name} {result.model_version} ({result.precision})"
    )


def csv_table(result: "PredictionTable") -> str:
    """Columns path, label, probability, in_distribution, reason; refused images have the path and the reason alone."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "probability", "in_distribution", "reason"])
    writer.writerows(
        (one.path, one.label, f"{one.probability:.6f}", IN_DISTRIBUTION[one.in_distribution], "") for one in result.predictions
    )
    writer.writerows((one.path, "", "", "", one.reason) for one in result.refused)
    return text.getvalue().rstrip("\n")


def batch(result: "BatchPrediction | SubmittedRun") -> "RenderableType":
    """Show the counts of a batch prediction, and where its files are."""
    from rich.console import Group

    from operations.training import SubmittedRun

    if isinstance(result, SubmittedRun):
        return submitted(result)
    counts = table("class", "images", numbers=("images",))
    for name, count in sorted(result.labels.items(), key=lambda one: -one[1])[:MAX_CLASSES]:
        counts.add_row(name, f"{count:,}")
    kept = f", {result.kept_parts} kept from an earlier run" if result.kept_parts else ""
    rate = f", {result.images_a_second:.0f} images a second" if result.parts else ""
    refused = ", ".join(f"{count:,} {reason}" for reason, count in result.refused.items())
    rows = summary(
        ("model version", f"{result.model_name} {result.model_version} ({result.precision})"),
        *([("refused", refused)] if refused else []),
        ("output", result.output),
        ("parts", f"{result.parts} written{kept}"),
        ("run", result.run),
        ("time", f"{result.seconds:.1f} s{rate}"),
    )
    more = f"and {len(result.labels) - MAX_CLASSES} more classes\n" if len(result.labels) > MAX_CLASSES else ""
    return Group("", result.explanation, "", counts, more, rows)
