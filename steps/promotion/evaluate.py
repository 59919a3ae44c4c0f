"""Measure the exported files on the test pictures."""

import os
from typing import Annotated

from zenml import step

from adapters import tracking
from classifier.data.prepared import PreparedPictures
from classifier.model.predictor import Predictor
from classifier.promotion.evaluation import Evaluation
from classifier.promotion.evaluation import evaluate as measure
from classifier.promotion.records import ModelPackage
from classifier.promotion.report import mistakes_report
from classifier.workspace import Workspace
from materializers.evaluation import EvaluationMaterializer
from materializers.storing import prepared_pictures
from steps.caching import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"evaluation": EvaluationMaterializer})
def evaluate(
    exported_package: ModelPackage, prepared: PreparedPictures, tracking_run: str
) -> Annotated[Evaluation, "evaluation"]:
    """Through `Predictor`, as in service: the number in the registry is the number in production."""
    from classifier.promotion import figures

    predictor = Predictor.unsigned(exported_package.folder, threads=os.cpu_count() or 1)
    evaluation = measure(predictor, exported_package.folder, prepared, Workspace.current())
    with tracking.run_of(tracking_run):
        tracking.log_metrics({f"test_{name}": value for name, value in evaluation.summary().items()})
        tracking.log_files(
            {
                "figures/confusion_matrix.png": figures.confusion_figure(evaluation),
                "figures/roc.png": figures.roc_figure(evaluation),
                "figures/calibration.png": figures.calibration_figure(evaluation),
                "mistakes.html": mistakes_report(evaluation, prepared_pictures(prepared.side_pixels)),
            }
        )
    return evaluation
