"""Answer pictures with a registered version: files and folders in, a table out."""

import csv
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageloop.adapters.zenml_client import open_store
from imageloop.atomic_files import replacing
from imageloop.data.sources.folder import every_file
from imageloop.errors import ImageLoopError, ImageRefusedError
from imageloop.progress import track
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from imageloop.model.predictor import Prediction, Predictor

logger = logging.getLogger(__name__)
MAX_NAME_BYTES = 255


def predict(
    paths: list[Path], model_name: str, version: str | None = None, explain: Path | None = None, *, exact: bool = False
) -> dict[str, Any]:
    """Answer every picture below `paths` with the champion or with `version`; go on after those that are refused.

    Raises: ImageLoopError if there is no picture, or no such version.
    """
    files = list(_files_below(paths))
    if not files:
        raise ImageLoopError(f"wanted pictures, found no file at {', '.join(map(str, paths)) or 'no path at all'}")
    predictor, version = load_version(model_name, version, exact=exact)
    answered, refused = [], []
    answers = predictor.predict_each(_contents(files))
    names = _names_of_heat_maps(files) if explain else {}
    for file, answer in zip(files, track(answers, "predict", len(files)), strict=True):
        if isinstance(answer, ImageRefusedError):
            refused.append({"path": str(file), "reason": str(answer)})
        else:
            answered.append(_row(file, answer) | _heat_map(predictor, file, explain and explain / names[file]))
    return {
        "model_name": model_name,
        "model_version": version,
        "precision": predictor.precision,
        "predictions": answered,
        "refused": refused,
    }


def load_version(model_name: str, version: str | None, *, exact: bool = False) -> "tuple[Predictor, str]":
    """The predictor of a version, verified; by default the champion's.

    Raises: ImageLoopError if there is none.
    """
    from imageloop.adapters.mlflow_registry import ModelRegistry
    from imageloop.model.predictor import Predictor
    from imageloop.model.signing import public_key

    open_store()
    registry = ModelRegistry(model_name)
    version = version or registry.champion()
    if version is None:
        raise ImageLoopError(f"wanted a champion of '{model_name}', found none; train a model first: python run.py train")
    folder = registry.package(version)
    return Predictor.load(folder, public_key(Workspace.current().keys), exact=exact), version


def _files_below(paths: list[Path]) -> Iterator[Path]:
    """Also the folders that may not be read: they are refused as files are."""
    for path in paths:
        if path.is_dir():
            yield from every_file(path, also_unreadable=True)
        else:
            yield path


def _contents(files: list[Path]) -> Iterator[bytes]:
    """A file that cannot be read is refused like one that is no picture: empty. Of a film no more is read than refuses it."""
    from imageloop.model.predictor import SERVED

    for file in files:
        try:
            with file.open("rb") as content:
                yield content.read(SERVED.max_bytes + 1)
        except OSError as error:
            logger.warning("cannot read '%s' (%s)", file, error.strerror)
            yield b""


def _row(file: Path, answer: "Prediction") -> dict[str, Any]:
    return {"path": str(file), "label": answer.label, "probability": answer.probability, "probabilities": answer.probabilities}


def _names_of_heat_maps(files: list[Path]) -> dict[Path, str]:
    """Each its own: the file's folder and name, and as much of the path before it as it takes; a number where that is too long."""
    different = dict.fromkeys(files)
    for length in range(2, max(2, *(len(file.parts) for file in different)) + 1):
        names = {file: f"{'_'.join(file.parts[-length:]).lstrip('/_')}.png" for file in different}
        if len(set(names.values())) == len(different):
            break
    too_long = any(len(os.fsencode(name)) > MAX_NAME_BYTES for name in names.values())
    return {file: f"{number}.png" for number, file in enumerate(different)} if too_long else names


def _heat_map(predictor: "Predictor", file: Path, target: Path | None) -> dict[str, str]:
    if target is None:
        return {}
    from imageloop.model.class_activation_map import draw_heat_map

    with replacing(target) as aside:
        draw_heat_map(predictor, file.read_bytes()).save(aside, "PNG")
    return {"heat_map": str(target)}


def describe(result: dict[str, Any]) -> str:
    """A table for a person."""
    width = max((len(row["path"]) for row in result["predictions"]), default=4)
    lines = [f"{row['path']:<{width}}  {row['label']}  {row['probability']:.1%}" for row in result["predictions"]]
    if result["refused"]:
        lines += ["", f"refused {len(result['refused'])}:", *(f"  {row['path']}: {row['reason']}" for row in result["refused"])]
    lines += [
        "",
        f"{len(result['predictions'])} pictures by {result['model_name']} {result['model_version']} ({result['precision']})",
    ]
    return "\n".join(lines)


def as_csv(result: dict[str, Any]) -> str:
    """Columns path, label, probability; refused pictures have neither label nor probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "probability"])
    writer.writerows((row["path"], row["label"], f"{row['probability']:.6f}") for row in result["predictions"])
    writer.writerows((row["path"], "", "") for row in result["refused"])
    return text.getvalue()
