"""The images that the service retained for labelling: list, export, delete."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imageloop import html_pages
from imageloop.adapters.zenml_client import open_store
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from imageloop.monitoring.settings import MonitoringSettings
    from imageloop.training.settings import FeedbackSettings

LABELLED, TO_LABEL = "labelled", "to_label"
SHOWN_SIDE = 160


@dataclass(frozen=True)
class RetentionKey:
    """The key pair that retained images are encrypted with: the file of its private half, and the public half for `variable`."""

    identity: str
    recipient: str
    variable: str


@dataclass(frozen=True)
class RetainedRow:
    """One retained image. Units: Unix seconds, bytes."""

    request_id: str
    time: float
    size_bytes: int


@dataclass(frozen=True)
class RetainedList:
    """The retained images, the newest first, and how many of them have a label. `waiting`: how many more have no ground truth yet."""

    folder: str
    images: list[RetainedRow]
    labelled: int
    waiting: int


@dataclass(frozen=True)
class DeletedImages:
    """The number of deleted images, and the requests that they belonged to."""

    deleted: int
    request_ids: list[str]


@dataclass(frozen=True)
class ExportedImages:
    """The number of images written to `folder`, labelled and to label. `left`: those that stay where they are."""

    folder: str
    model_name: str
    labelled: int
    to_label: int
    left: int


def key() -> RetentionKey:
    """The key that images are retained for; the service gets its public half alone."""
    from imageloop.records.retained_images import RECIPIENT_VARIABLE, make_identity

    file = identity()
    return RetentionKey(str(file), make_identity(file), RECIPIENT_VARIABLE)


def listing(settings: "MonitoringSettings") -> RetainedList:
    """The retained images, and those that wait for their ground truth."""
    from imageloop.records.retained_images import WAITING, retained_images

    folder = records_folder(settings)
    images = sorted(retained_images(folder), key=lambda one: -one.time)
    rows = [RetainedRow(one.request_id, one.time, one.size_bytes) for one in images]
    labels = _collected_labels(settings, folder)
    return RetainedList(
        str(folder), rows, sum(one.request_id in labels for one in images), len(list(retained_images(folder / WAITING)))
    )


def delete(settings: "MonitoringSettings", request_ids: list[str]) -> DeletedImages:
    """Delete every retained image of these requests.

    Raises: ImageLoopError for an invalid request id.
    """
    from imageloop.records.retained_images import delete_images
    from seldon.service.feedback_messages import REQUEST_ID

    for request_id in request_ids:
        if not REQUEST_ID.fullmatch(request_id):
            raise ImageLoopError(f"expected the request id of a prediction (32 hexadecimal digits), got '{request_id}'")
    return DeletedImages(delete_images(records_folder(settings), request_ids), request_ids)


def export(settings: "MonitoringSettings", target: Path, feedback: "FeedbackSettings") -> ExportedImages:
    """Decrypt the images: into `labelled/<class>/` where the ground truth is known, else into `to_label/`.

    Images of the evaluation split are left out, for the next model must not be trained on them.
    Raises: ImageLoopError for a key that does not fit.
    """
    from imageloop.data.image_checks import open_image
    from imageloop.lifecycle.feedback_for_training import roles_of
    from imageloop.model.predictor import SERVED
    from imageloop.records.retained_images import read_image, retained_images
    from imageloop.training.feedback_data import role_of
    from seldon.service.feedback_messages import OTHER

    workspace, folder = Workspace.current(), records_folder(settings)
    labels = _collected_labels(settings, folder)
    written = {LABELLED: 0, TO_LABEL: 0}
    left = 0
    images = list(retained_images(folder))
    known = feedback.model_copy(update={"database": settings.database})
    roles = roles_of([image.request_id for image in images], known, settings.model_name, workspace)
    for image in images:
        label = labels.get(image.request_id)
        if label == OTHER:
            left += 1
            continue
        content = read_image(image.request_id, image.file, identity())
        role = roles.get(image.request_id) or role_of(hashlib.sha256(content).hexdigest(), feedback.held_back)
        if role == "held_back":
            left += 1
            continue
        place = Path(LABELLED) / label if label else Path(TO_LABEL)
        ending = open_image(content, side=1, limits=SERVED).container.format.lower()
        with replacing(target / place / f"kept-{image.request_id}.{ending}") as aside:
            aside.write_bytes(content)
        written[place.parts[0]] += 1
    return ExportedImages(str(target), settings.model_name, written[LABELLED], written[TO_LABEL], left)


def _collected_labels(settings: "MonitoringSettings", images: Path) -> dict[str, str]:
    """The ground truth of requests, with what services have recorded since the monitor collected it last. `images`: below the records."""
    from imageloop.lifecycle.feedback_for_training import collected_records

    with collected_records(images.parent, Workspace.current(), settings.database) as (database, _):
        words = database.labels(settings.model_name)
    return dict(zip(words["request_id"], words["ground_truth"], strict=True))


def images_of(settings: "MonitoringSettings", request_ids: Collection[str]) -> dict[str, bytes]:
    """The retained images of these requests, decrypted; none where no image is retained on this machine.

    Raises: ImageLoopError for a key that does not fit.
    """
    from imageloop.records.retained_images import read_image, retained_images

    try:
        folder = records_folder(settings)
    except ImageLoopError:
        return {}
    found = [image for image in retained_images(folder) if image.request_id in request_ids]
    return {image.request_id: read_image(image.request_id, image.file, identity()) for image in found}


def retained_figure(content: bytes, caption: str) -> str:
    """A retained image for a page."""
    from imageloop.data.preprocessing import preprocess
    from imageloop.model.predictor import SERVED

    return html_pages.image(preprocess(content, SHOWN_SIDE, SERVED), caption)


def identity() -> Path:
    """The file of the private key."""
    from imageloop.records.retained_images import identity_of

    return identity_of(Workspace.current().keys)


def records_folder(settings: "MonitoringSettings") -> Path:
    """Raises: ImageLoopError where this machine does not have the records, or for a model that does not exist."""
    open_store()
    from imageloop.lifecycle.choose_version import refuse_unknown

    refuse_unknown(settings.model_name)
    from imageloop.records.retained_images import folder_of
    from seldon.delivery.deployer.active_deployer import active_deployer

    records = active_deployer().cluster.records(*settings.place)
    if records is None:
        raise ImageLoopError("the folder of the service's records is not on this machine: its cluster stores them elsewhere")
    return folder_of(records)
