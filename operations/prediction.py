"""Predict files and folders of images with a registered version."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imageloop.adapters.zenml_client import open_store
from imageloop.atomic_files import replacing
from imageloop.data.sources.folder import every_file
from imageloop.errors import ImageLoopError, ImageRefusedError
from imageloop.progress import track

if TYPE_CHECKING:
    from imageloop.model.predictor import Predictor

logger = logging.getLogger(__name__)
MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class PredictedImage:
    """One image and its prediction. `heat_map`: the path of a PNG, if requested. Units: probabilities in [0, 1].

    `in_distribution`: whether the image resembles the training data; None where the package has no novelty reference.
    """

    path: str
    label: str
    probability: float
    probabilities: dict[str, float]
    heat_map: str | None = None
    in_distribution: bool | None = None


@dataclass(frozen=True)
class RefusedImage:
    """A file without a prediction, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class PredictionTable:
    """The predictions of one version, and the files that it refused."""

    model_name: str
    model_version: str
    precision: str
    predictions: list[PredictedImage]
    refused: list[RefusedImage]


def predict(
    paths: list[Path], model_name: str, version: str | None = None, explain: Path | None = None, *, exact: bool = False
) -> PredictionTable:
    """Predict every image below `paths` with the champion or with `version`; go on after those that are refused or missing.

    Raises: ImageLoopError if there is no image, or no such version.
    """
    files = list(_files_below(paths))
    if not files:
        raise ImageLoopError(f"expected images, got no file at {', '.join(map(str, paths)) or 'no path at all'}")
    open_store()
    from imageloop.lifecycle.registered_predictor import load_version

    loaded = load_version(model_name, version, exact=exact)
    predictor, novelty = loaded.predictor, loaded.novelty
    table = PredictionTable(model_name, loaded.version, predictor.precision, [], [])
    unreadable: dict[Path, str] = {}
    predictions = predictor.predict_each(_contents(files, predictor.limits.max_bytes, unreadable))
    names = _names_of_heat_maps(files) if explain else {}
    for file, prediction in zip(files, track(predictions, "predict", len(files)), strict=True):
        if isinstance(prediction, ImageRefusedError):
            table.refused.append(RefusedImage(str(file), unreadable.get(file) or str(prediction)))
        else:
            heat_map = _draw_heat_map(predictor, file, explain / names[file]) if explain else None
            resembles = None if novelty is None else bool(novelty.distance(prediction.embedding_D[None])[0] <= novelty.limit)
            values = (prediction.label, prediction.probability, prediction.probabilities)
            table.predictions.append(PredictedImage(str(file), *values, heat_map, resembles))
    return table


def _files_below(paths: list[Path]) -> Iterator[Path]:
    """List the files below a folder, and folders without permission, which are refused as files are."""
    for path in paths:
        if path.is_dir():
            yield from every_file(path, also_unreadable=True)
        else:
            yield path


def _contents(files: list[Path], max_bytes: int, unreadable: dict[Path, str]) -> Iterator[bytes]:
    """A file that cannot be read is empty here, and its reason is noted. Of a film no more is read than refuses it."""
    for file in files:
        try:
            with file.open("rb") as content:
                yield content.read(max_bytes + 1)
        except OSError as error:
            unreadable[file] = f"unreadable: cannot be read ({error.strerror})"
            yield b""


def _names_of_heat_maps(files: list[Path]) -> dict[Path, str]:
    """Each its own: the file's folder and name, and as much of the path before it as it takes; a number where that is too long."""
    different = dict.fromkeys(files)
    for length in range(2, max(2, *(len(file.parts) for file in different)) + 1):
        names = {file: f"{'_'.join(file.parts[-length:]).lstrip('/_')}.png" for file in different}
        if len(set(names.values())) == len(different):
            break
    too_long = any(len(os.fsencode(name)) > MAX_NAME_BYTES for name in names.values())
    return {file: f"{number}.png" for number, file in enumerate(different)} if too_long else names


def _draw_heat_map(predictor: "Predictor", file: Path, target: Path) -> str:
    from imageloop.model.class_activation_map import draw_heat_map

    with replacing(target) as aside:
        draw_heat_map(predictor, file.read_bytes()).save(aside, "PNG")
    return str(target)
