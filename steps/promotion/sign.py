"""Finish the package and sign it."""

from typing import Annotated

from zenml import step

from imageloop.adapters.ray_engine import open_engine
from imageloop.atomic_files import replacing
from imageloop.data.prepared_images import PreparedImages
from imageloop.execution_engine import work_on
from imageloop.lifecycle.feedback_images import images_that_judge
from imageloop.model.package import MODEL_CARD, read_info
from imageloop.model.predictor import Predictor
from imageloop.model.signing import private_key
from imageloop.model.signing import sign as sign_folder
from imageloop.model.test_images import write_test_images
from imageloop.promotion.choose_smoke_test_images import write_smoke_test_images
from imageloop.promotion.choose_test_images import choose_test_images
from imageloop.promotion.choose_training_examples import choose_training_examples
from imageloop.promotion.drift_reference import write_reference
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.model_card import model_card
from imageloop.promotion.settings import ExportSettings, GateSettings
from imageloop.promotion.step_artifacts import ModelPackage
from imageloop.promotion.write_accuracy_estimator import write_accuracy_estimator
from imageloop.training.feedback_data import FeedbackData
from imageloop.workspace_paths import Workspace
from materializers.package import PackageMaterializer
from steps.cache_keys import ON_CODE
from steps.retained_images import retained_images


@step(cache_policy=ON_CODE, output_materializers={"package": PackageMaterializer})
def sign(
    exported_package: ModelPackage,
    evaluation: Evaluation,
    prepared: PreparedImages,
    feedback: FeedbackData,
    settings: GateSettings,
    export_settings: ExportSettings,
) -> Annotated[ModelPackage, "package"]:
    """Write the metrics, the model card, the reference for drift, known images and test images into the package; from here on no byte of it may change.

    A refused model is signed as well: it is registered with its metrics, and nothing moves.
    """
    workspace, folder = Workspace.current(), exported_package.folder
    predictor = Predictor.unsigned(folder, threads=2)
    seen = images_that_judge(feedback, prepared.side_pixels, retained_images(feedback.deployment))
    held_back, recent = seen or (None, None)
    write_reference(predictor, prepared, workspace, folder, feedback, recent)
    with work_on(open_engine):
        write_accuracy_estimator(predictor, prepared, workspace, folder, feedback, held_back)
    write_smoke_test_images(predictor, evaluation.predictions, prepared, workspace, folder)
    chosen = choose_test_images(evaluation.predictions, prepared, workspace, export_settings.max_test_images)
    write_test_images(folder, chosen)
    if export_settings.thumbnails:
        choose_training_examples(predictor, prepared, workspace, export_settings.thumbnails).write(folder)
    metrics = {"metrics": evaluation.summary(), "thresholds": settings.model_dump(mode="json")}
    info = read_info(folder).model_copy(update=metrics)
    info.write(folder)
    with replacing(folder / MODEL_CARD) as aside:
        aside.write_text(model_card(info, evaluation, prepared), encoding="utf-8")
    sign_folder(folder, private_key(workspace.keys))
    return exported_package
