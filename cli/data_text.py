"""How the commands of data show their results to a user."""

from typing import TYPE_CHECKING

from cli.output import lines, table

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from operations.data_restore import RestoredData
    from operations.retained_images import DeletedImages, ExportedImages, RetainedList, RetentionKey


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
    total = f"{len(result.images)} images to label, {result.waiting} wait for their ground truth, in {result.folder}"
    return Group(*([images] if result.images else []), total)


def deletion(result: "DeletedImages") -> str:
    """Count the deleted images."""
    return f"deleted {result.deleted} images of {len(result.request_ids)} requests"


def export(result: "ExportedImages") -> "Text":
    """Say what was exported, and how to train on it."""
    return lines(
        f"wrote {result.labelled} labelled images and {result.to_label} to label to {result.folder}, left {result.left}",
        "move those of to_label/ into labelled/<class>/, then: "
        f"python run.py train --set data.retained_images={result.folder}/labelled",
    )
