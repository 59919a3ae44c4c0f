"""Fit the model on the train split, watched on the validation split."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from zenml import log_metadata, step

from imageloop.adapters import mlflow_tracking
from imageloop.adapters.mlflow_epochs import EpochLog
from imageloop.adapters.ray_engine import open_engine
from imageloop.background_imports import loading
from imageloop.data.data_version import DataVersion
from imageloop.data.prepared_images import PreparedImages
from imageloop.execution_engine import work_on
from imageloop.lifecycle.feedback_images import images_that_train
from imageloop.prices import per_cpu_hour
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.settings import TrainingSettings
from imageloop.training.trained_model import TrainedModel
from imageloop.workspace_paths import Workspace
from materializers.trained_model import TrainedModelMaterializer
from steps.cache_keys import ON_CODE
from steps.retained_images import retained_images


@step(cache_policy=ON_CODE, experiment_tracker=True, output_materializers={"trained_model": TrainedModelMaterializer})
def train(
    prepared: PreparedImages, data_version: DataVersion, feedback: FeedbackData, settings: TrainingSettings
) -> tuple[Annotated[TrainedModel, "trained_model"], Annotated[str, "tracking_run"]]:
    """Every epoch goes to the tracker; a run that was cut off goes on at its last checkpoint."""
    from imageloop.training.trainer import train as fit_model

    mlflow_tracking.describe_run(settings.model_dump(mode="json"), data_version)
    mlflow_tracking.log_dataset(
        Path(prepared.raw_folder).name, prepared.data_version, prepared.table["split"].value_counts().to_dict()
    )
    epochs, begun = EpochLog(), time.process_time()
    images = images_that_train(feedback, prepared.class_names, settings.side_pixels, retained_images(feedback.deployment))
    with work_on(open_engine), loading("model_signing"):  # half a second, which `sign` needs soon
        model = fit_model(prepared, settings, Workspace.current(), epochs, feedback, images)
    epochs.flush()
    seconds = time.process_time() - begun
    mlflow_tracking.log_metrics({"train/cpu_seconds": seconds, "train/cost": seconds / 3600 * per_cpu_hour()})
    trained: dict[str, Any] = {"best_epoch": model.best_epoch + 1, "epochs": len(model.history)}
    if model.teacher is not None:
        trained["teacher"] = asdict(model.teacher)
        mlflow_tracking.log_metrics(
            {
                "teacher/validation_accuracy": model.teacher.validation_accuracy,
                "teacher/milliseconds_per_image": model.teacher.milliseconds,
            }
        )
    log_metadata(trained, artifact_name="trained_model", infer_artifact=True)
    return model, mlflow_tracking.active_run_id()
