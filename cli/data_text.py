"""How the commands of data show their results to a user."""

import shlex
from typing import TYPE_CHECKING

from cli.output import lines, table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from operations.data_restore import RestoredData
    from operations.label_review import LabelReview, ReviewedLabels
    from operations.retained_images import DeletedImages, ExportedImages, RetainedList, RetentionKey


MAX_LABELS = 20  # that are shown; --json has all


def restored(result: "RestoredData") -> str:
    """Say where the images and the catalog of a run are."""
    return f"{result.files:,} images and the catalog of run {result.run} are in {result.folder}"


def key(result: "RetentionKey") -> "Text":
    """Say where the key is, and which command retains images for it."""
    return lines(
        f"the key is in {result.identity}; with it anyone can read the retained images",
        f"retain images: python run.py deploy --set environment.{result.variable}={result.recipient}",
    )


def listing(result: "RetainedList") -> "Group":
    """List the retained images with their sizes, and count them."""
    from rich.console import Group

    images = table("request", "bytes", numbers=("bytes",))
    for image in result.images:
        images.add_row(image.request_id, f"{image.size_bytes:,}")
    counted = f"{len(result.images)} retained images, {result.labelled} of them with a label"
    total = f"{counted}; {result.waiting} more wait for their ground truth; in {result.folder}"
    return Group(*([images] if result.images else []), total)


def deletion(result: "DeletedImages") -> str:
    """Count the deleted images."""
    return f"deleted {result.deleted} images of {len(result.request_ids)} requests"


def export(result: "ExportedImages") -> "Text":
    """Say what was exported, and how to train on it."""
    return lines(
        f"wrote {result.labelled} labelled images and {result.to_label} to label to {result.folder}; left {result.left}, which are held back to judge "
        "the next model, or have a label that is no class",
        "move those of to_label/ into labelled/<class>/, then: "
        f"python run.py train --data YOUR_IMAGES --model {result.model_name} --set data.retained_images={result.folder}/labelled",
    )


def label_review(result: "LabelReview") -> "Group":
    """List the sources, then some of the labels that await approval, and how to decide."""
    from rich.console import Group

    sources = table("source", "labels", "awaiting approval", numbers=("labels", "awaiting approval"))
    for source in result.sources:
        sources.add_row(source.name, f"{source.labels:,}", f"{source.suspicious:,}")
    unknown = f"labels of any model that match no prediction, since their request ids are unknown: {result.unmatched:,}"
    unmatched = [unknown] if result.unmatched else []
    if not result.labels:
        return Group(*([sources] if result.sources else []), "no label awaits approval", *unmatched)
    shown = table("request", "source", "predicted", "labelled", "why")
    for label in result.labels[:MAX_LABELS]:
        shown.add_row(label.request_id, label.source, label.predicted, label.label, label.reason)
    rest = len(result.labels) - MAX_LABELS
    text = [f"and {rest:,} more: --json lists all"] if rest > 0 else []
    text += [f"{result.page} shows them, {result.images} with their images"] if result.page else []
    text += unmatched
    text += [f"a retraining uses no label now: {result.awaiting}"] if result.awaiting else []
    name = shlex.quote(result.model_name)
    text.append(f"decide: python run.py labels accept --model {name}, or labels reject, with request ids or --source NAME")
    return Group(sources, "", shown, lines(*text))


def reviewed_labels(result: "ReviewedLabels") -> str:
    """Count the labels that were decided about, and name the requests that have none."""
    unknown = f"; no label of: {', '.join(result.unknown)}" if result.unknown else ""
    return f"{result.decision}: {result.labels:,} label{'' if result.labels == 1 else 's'}{unknown}"
