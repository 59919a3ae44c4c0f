"""Compare versions of a model on the same test images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imageloop.adapters.zenml_client import open_store
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from imageloop.data.prepared_images import PreparedImages
    from imageloop.lifecycle.registered_predictor import RegisteredPredictor


@dataclass(frozen=True)
class AccuracyDifference:
    """The paired difference with its 95 % interval. Units: a share of the images, in [-1, 1]."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class ComparedVersion:
    """A version and its metrics on the test images. `difference`: of its accuracy from that of the first version; None of the first."""

    version: str
    backbone: str
    precision: str
    metrics: dict[str, float]
    difference: AccuracyDifference | None


@dataclass(frozen=True)
class Comparison:
    """Versions of a model on the same images, in the order in which they were named."""

    model_name: str
    versions: list[ComparedVersion]
    num_images: int


def compare(model_name: str, versions: list[str]) -> Comparison:
    """Evaluate versions on the test images of the last catalog.

    Raises: SettingsError for fewer than two, ImageLoopError if one is unknown, or no catalog names test images that none was trained on.
    """
    from imageloop.adapters.mlflow_registry import ModelRegistry
    from imageloop.data.prepared_images import prepare
    from imageloop.data.split_history import previous_catalog
    from imageloop.lifecycle.compare_with_champion import taught_by, without
    from imageloop.lifecycle.registered_predictor import load_version
    from imageloop.promotion.champion_comparison import paired_difference
    from imageloop.promotion.evaluation import evaluate

    if len(set(versions)) < max(2, len(versions)):
        raise SettingsError(f"expected two versions or more, each once, got: {' '.join(versions)}; versions lists them")
    open_store()
    registry = ModelRegistry(model_name)
    made = registry.made_with(versions[-1])
    workspace = Workspace.current(made.data.data_set if made else "")
    catalog = previous_catalog(workspace)
    if catalog is None:
        raise ImageLoopError(
            "expected test images, got no catalog; train first: python run.py train (--no-cache where it was deleted)"
        )
    taught = taught_by(registry, versions, workspace)
    loaded = [load_version(model_name, version) for version in versions]
    evaluations = []
    for one in loaded:
        images = prepare(catalog, workspace.prepared, one.predictor.info.side_pixels, "", workspace.data / "raw")
        fresh = without(images, taught)
        _check_images(one, fresh)
        evaluations.append(evaluate(one.predictor, one.folder, fresh, workspace))
    first = evaluations[0].predictions
    differences = [paired_difference(one.predictions, first) for one in evaluations]
    compared = [
        ComparedVersion(
            version=one.version,
            backbone=one.predictor.info.backbone,
            precision=one.predictor.precision,
            metrics={name: float(value) for name, value in evaluation.summary().items()},
            difference=AccuracyDifference(found.mean, found.low, found.high) if one is not loaded[0] else None,
        )
        for one, evaluation, found in zip(loaded, evaluations, differences, strict=True)
    ]
    return Comparison(model_name, compared, len(first))


def _check_images(version: "RegisteredPredictor", images: "PreparedImages") -> None:
    """Raises: ImageLoopError for a version of other classes than the images, and without test images that are new to every version."""
    from imageloop.promotion.champion_comparison import changed_classes

    class_names = version.predictor.info.class_names
    if images.class_names != class_names:
        raise ImageLoopError(
            f"expected versions with the classes of the current images ({', '.join(images.class_names)}), got version {version.version} with "
            f"{changed_classes(images.class_names, class_names)}; only versions of the same classes can be compared"
        )
    if images.of_split("test").empty:
        raise ImageLoopError(
            "expected test images that taught none of the versions, got none: they were split by different seeds (data.split.seed)"
        )
