"""Measure the exported files on the test images."""

from typing import Annotated

from zenml import step

from imageloop.adapters import mlflow_tracking
from imageloop.data.prepared_images import PreparedImages
from imageloop.model.predictor import Predictor
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.evaluation import evaluate as measure
from imageloop.promotion.evaluation_report import mistakes_report
from imageloop.promotion.step_artifacts import ModelPackage
from imageloop.usable_cores import usable_cores
from imageloop.workspace_paths import Workspace
from materializers.artifact_files import prepared_images
from materializers.evaluation import EvaluationMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"evaluation": EvaluationMaterializer})
def evaluate(exported_package: ModelPackage, prepared: PreparedImages, tracking_run: str) -> Annotated[Evaluation, "evaluation"]:
    """Through `Predictor`, as in service: the number in the registry is the number in production."""
    from imageloop.promotion import evaluation_charts

    predictor = Predictor.unsigned(exported_package.folder, threads=usable_cores())
    evaluation = measure(predictor, exported_package.folder, prepared, Workspace.current())
    with mlflow_tracking.run_of(tracking_run):
        mlflow_tracking.log_metrics({f"test/{name}": value for name, value in evaluation.summary().items()})
        mlflow_tracking.log_files(
            {
                "figures/confusion_matrix.png": evaluation_charts.confusion_figure(evaluation),
                "figures/roc.png": evaluation_charts.roc_figure(evaluation),
                "figures/calibration.png": evaluation_charts.calibration_figure(evaluation),
                "mistakes.html": mistakes_report(evaluation, prepared_images(prepared.side_pixels)),
            }
        )
    return evaluation
