"""The pictures that the service kept for labelling: list them, give them to a person, take them away."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageloop.adapters.zenml_client import open_store
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from imageloop.monitoring.settings import MonitoringSettings
    from imageloop.training.settings import ExperienceSettings

KEY_NAME = "pictures.key"
LABELLED, TO_LABEL = "labelled", "to_label"


def key() -> dict[str, Any]:
    """The key that pictures are kept for; the service gets its public half alone."""
    from imageloop.records.retained_images import RECIPIENT_VARIABLE, make_identity

    file = Workspace.current().keys / KEY_NAME
    return {"identity": str(file), "recipient": make_identity(file), "variable": RECIPIENT_VARIABLE}


def listing(settings: "MonitoringSettings") -> dict[str, Any]:
    """What is there to be labelled, the newest first."""
    from imageloop.records.retained_images import WAITING, kept_pictures

    folder = _folder(settings)
    pictures = sorted(kept_pictures(folder), key=lambda one: -one.time)
    rows = [{"request_id": one.request_id, "time": one.time, "size_bytes": one.size_bytes} for one in pictures]
    return {"folder": str(folder), "pictures": rows, "waiting": len(list(kept_pictures(folder / WAITING)))}


def delete(settings: "MonitoringSettings", request_ids: list[str]) -> dict[str, Any]:
    """Every picture of these requests."""
    from imageloop.records.retained_images import delete_pictures
    from seldon.service.feedback_messages import REQUEST_ID

    for request_id in request_ids:
        if not REQUEST_ID.fullmatch(request_id):
            raise ImageLoopError(f"wanted the request id of an answer (32 hexadecimal digits), found '{request_id}'")
    return {"deleted": delete_pictures(_folder(settings), request_ids), "request_ids": request_ids}


def export(settings: "MonitoringSettings", target: Path, experience: "ExperienceSettings") -> dict[str, Any]:
    """Write them as pictures: `labelled/<class>/` where the truth is known, `to_label/` where a person shall say it.

    Pictures that show what judges the next model stay where they are, for it must not learn them.
    Raises: ImageLoopError for a key that does not fit.
    """
    from imageloop.data.preprocessing import open_image
    from imageloop.lifecycle.feedback import open_database, roles_of
    from imageloop.model.predictor import SERVED
    from imageloop.records.retained_images import kept_pictures, read_picture
    from imageloop.training.feedback_data import role_of
    from seldon.service.feedback_messages import OTHER

    workspace = Workspace.current()
    database = open_database(workspace, settings.database)
    words = database.labels(settings.model_name)
    database.close()
    labels = dict(zip(words["request_id"], words["true_label"], strict=True))
    written = {LABELLED: 0, TO_LABEL: 0}
    left = 0
    pictures = list(kept_pictures(_folder(settings)))
    known = experience.model_copy(update={"database": settings.database})
    roles = roles_of([picture.request_id for picture in pictures], known, settings.model_name, workspace)
    for picture in pictures:
        label = labels.get(picture.request_id)
        if label == OTHER:
            left += 1
            continue
        content = read_picture(picture, workspace.keys / KEY_NAME)
        role = roles.get(picture.request_id) or role_of(hashlib.sha256(content).hexdigest(), experience.held_back)
        if role == "held_back":
            left += 1
            continue
        place = Path(LABELLED) / label if label else Path(TO_LABEL)
        with replacing(target / place / f"kept-{picture.request_id}.{str(open_image(content, SERVED).format).lower()}") as aside:
            aside.write_bytes(content)
        written[place.parts[0]] += 1
    return {"folder": str(target), **written, "left": left}


def _folder(settings: "MonitoringSettings") -> Path:
    """Raises: ImageLoopError where pictures are kept elsewhere."""
    open_store()
    from imageloop.records.retained_images import FOLDER
    from seldon.delivery.deployer.active_deployer import active_deployer

    records = active_deployer().cluster.records(*settings.place)
    if records is None:
        raise ImageLoopError("wanted the folder of the service's records, found that its cluster keeps none on this machine")
    return records / FOLDER


def describe_key(result: dict[str, Any]) -> str:
    return (
        f"the key is in {result['identity']}; whoever has it can read the kept pictures\n"
        f"keep pictures: python run.py deploy --set environment.{result['variable']}={result['recipient']}"
    )


def describe_listing(result: dict[str, Any]) -> str:
    lines = [f"{row['request_id']}  {row['size_bytes']:>9,} bytes" for row in result["pictures"]]
    return "\n".join([*lines, f"{len(lines)} pictures to label, {result['waiting']} wait for their truth, in {result['folder']}"])


def describe_deletion(result: dict[str, Any]) -> str:
    return f"deleted {result['deleted']} pictures of {len(result['request_ids'])} requests"


def describe_export(result: dict[str, Any]) -> str:
    return (
        f"wrote {result[LABELLED]} labelled pictures and {result[TO_LABEL]} to label to {result['folder']}, left {result['left']}\n"
        f"move those of {TO_LABEL}/ into {LABELLED}/<class>/, then: python run.py train --set data.kept={result['folder']}/{LABELLED}"
    )
