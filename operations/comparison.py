"""Two versions side by side on the same pictures."""

from typing import Any

from imageloop.adapters.zenml_client import open_store
from imageloop.errors import ImageLoopError
from imageloop.workspace_paths import Workspace
from operations.prediction import load_version


def compare(model_name: str, first: str, second: str) -> dict[str, Any]:
    """Both versions answer the test pictures of the last catalog.

    Raises: ImageLoopError if a version is unknown, or no catalog names test pictures that both know.
    """
    from imageloop.adapters.mlflow_registry import ModelRegistry
    from imageloop.data.prepared_images import prepare
    from imageloop.data.split_history import previous_catalog
    from imageloop.lifecycle.champion import taught_by, without
    from imageloop.promotion.evaluation import evaluate
    from imageloop.promotion.gates import paired_difference

    workspace = Workspace.current()
    catalog = previous_catalog(workspace)
    if catalog is None:
        raise ImageLoopError(
            "wanted test pictures, found no catalog; train first: python run.py train (--no-cache where it was deleted)"
        )
    open_store()
    registry, evaluations = ModelRegistry(model_name), []
    taught = taught_by(registry, [first, second], workspace)
    for version in (first, second):
        predictor, _ = load_version(model_name, version)
        pictures = prepare(catalog, workspace.prepared, predictor.info.side_pixels, "", workspace.data / "raw")
        if pictures.class_names != predictor.info.class_names:
            raise ImageLoopError(
                f"wanted a version that knows {', '.join(pictures.class_names)}, found version {version}, "
                f"which knows {', '.join(predictor.info.class_names)}; train it on these pictures"
            )
        fresh = without(pictures, taught)
        if fresh.of_split("test").empty:
            raise ImageLoopError(
                "wanted test pictures that taught neither version, found none: they were split by different seeds (data.split.seed)"
            )
        evaluations.append(evaluate(predictor, registry.package(version), fresh, workspace))
    mean, low, high = paired_difference(evaluations[1].predictions, evaluations[0].predictions)
    return {
        "model_name": model_name,
        "versions": [first, second],
        "figures": [evaluation.summary() for evaluation in evaluations],
        "accuracy_difference": {"mean": mean, "low": low, "high": high},
        "num_pictures": len(evaluations[0].predictions),
    }


def describe(result: dict[str, Any]) -> str:
    first, second = result["figures"]
    names = [name for name in first if name in second]
    width = max(map(len, names))
    lines = [f"{'':<{width}}  {'version ' + result['versions'][0]:>12}  {'version ' + result['versions'][1]:>12}"]
    lines += [f"{name:<{width}}  {first[name]:>12.4g}  {second[name]:>12.4g}" for name in names]
    difference = result["accuracy_difference"]
    lines += [
        "",
        "accuracy, second less first, on the same {} pictures: {mean:+.3f} (95 %: {low:+.3f} to {high:+.3f})".format(
            result["num_pictures"], **difference
        ),
    ]
    return "\n".join(lines)
