"""Compare two versions on the same test images."""

from dataclasses import dataclass
from typing import Any

from imageloop.adapters.zenml_client import open_store
from imageloop.errors import ImageLoopError
from imageloop.workspace_paths import Workspace


@dataclass(frozen=True)
class AccuracyDifference:
    """The paired difference with its 95 % interval. Units: a share of the images, in [-1, 1]."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The metrics of both versions on the same images; `accuracy_difference` is the second less the first."""

    model_name: str
    versions: list[str]
    metrics: list[dict[str, Any]]
    accuracy_difference: AccuracyDifference
    num_images: int


def compare(model_name: str, first: str, second: str) -> Comparison:
    """Evaluate both versions on the test images of the last catalog.

    Raises: ImageLoopError if a version is unknown, or no catalog names test images that both know.
    """
    from imageloop.adapters.mlflow_registry import ModelRegistry
    from imageloop.data.prepared_images import prepare
    from imageloop.data.split_history import previous_catalog
    from imageloop.lifecycle.compare_with_champion import taught_by, without
    from imageloop.lifecycle.registered_predictor import load_version
    from imageloop.promotion.champion_comparison import changed_classes, paired_difference
    from imageloop.promotion.evaluation import evaluate

    open_store()
    registry = ModelRegistry(model_name)
    made = registry.made_with(second)
    workspace = Workspace.current(made.data.data_set if made else "")
    catalog = previous_catalog(workspace)
    if catalog is None:
        raise ImageLoopError(
            "expected test images, got no catalog; train first: python run.py train (--no-cache where it was deleted)"
        )
    evaluations = []
    taught = taught_by(registry, [first, second], workspace)
    for version in (first, second):
        predictor = load_version(model_name, version).predictor
        images = prepare(catalog, workspace.prepared, predictor.info.side_pixels, "", workspace.data / "raw")
        if images.class_names != predictor.info.class_names:
            raise ImageLoopError(
                f"expected versions with the classes of the current images ({', '.join(images.class_names)}), got version {version} with "
                f"{changed_classes(images.class_names, predictor.info.class_names)}; only versions of the same classes can be compared"
            )
        fresh = without(images, taught)
        if fresh.of_split("test").empty:
            raise ImageLoopError(
                "expected test images that taught neither version, got none: they were split by different seeds (data.split.seed)"
            )
        evaluations.append(evaluate(predictor, registry.package(version), fresh, workspace))
    difference = paired_difference(evaluations[1].predictions, evaluations[0].predictions)
    return Comparison(
        model_name=model_name,
        versions=[first, second],
        metrics=[evaluation.summary() for evaluation in evaluations],
        accuracy_difference=AccuracyDifference(difference.mean, difference.low, difference.high),
        num_images=len(evaluations[0].predictions),
    )
