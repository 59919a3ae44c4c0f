"""How the commands of data show their results to a user."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operations.data_restore import RestoredData
    from operations.retained_images import DeletedImages, ExportedImages, RetainedList, RetentionKey


def restored(result: "RestoredData") -> str:
    return f"{result.files:,} images and the catalog of run {result.run} are in {result.folder}"


def key(result: "RetentionKey") -> str:
    return (
        f"the key is in {result.identity}; with it anyone can read the retained images\n"
        f"retain images: python run.py deploy --set environment.{result.variable}={result.recipient}"
    )


def listing(result: "RetainedList") -> str:
    lines = [f"{one.request_id}  {one.size_bytes:>9,} bytes" for one in result.images]
    return "\n".join([*lines, f"{len(lines)} images to label, {result.waiting} wait for their ground truth, in {result.folder}"])


def deletion(result: "DeletedImages") -> str:
    return f"deleted {result.deleted} images of {len(result.request_ids)} requests"


def export(result: "ExportedImages") -> str:
    return (
        f"wrote {result.labelled} labelled images and {result.to_label} to label to {result.folder}, left {result.left}\n"
        "move those of to_label/ into labelled/<class>/, then: "
        f"python run.py train --set data.retained_images={result.folder}/labelled"
    )
