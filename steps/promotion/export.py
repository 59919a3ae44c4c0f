"""Write the files that will be served."""

import atexit
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from zenml import log_metadata, step

from imageloop.abandoned_work import own_folder
from imageloop.adapters.git import commit_of
from imageloop.data.prepared_images import PreparedImages
from imageloop.data.preprocessing import PREPROCESSING_VERSION
from imageloop.data.settings import Limits
from imageloop.model.package import PackageInfo
from imageloop.promotion.settings import ExportSettings
from imageloop.promotion.step_artifacts import Calibration, ModelPackage
from imageloop.training.trained_model import TrainedModel
from imageloop.workspace_paths import Workspace
from materializers.package import PackageMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"exported_package": PackageMaterializer})
def export(
    trained_model: TrainedModel,
    calibration: Calibration,
    prepared: PreparedImages,
    tracking_run: str,
    settings: ExportSettings,
    limits: Limits,
) -> Annotated[ModelPackage, "exported_package"]:
    """ONNX with preprocessing, calibration, embedding and heat map inside; int8 only where it is as good."""
    from imageloop.promotion.build_package import build_package

    model = trained_model.settings.model
    info = PackageInfo(
        class_names=prepared.class_names,
        side_pixels=prepared.side_pixels,
        preprocessing_version=PREPROCESSING_VERSION,
        model_kind=model.kind,
        backbone=getattr(model, "backbone", "") if trained_model.head_only else "",
        rehearsal_weight=trained_model.rehearsal_weight,
        temperature=calibration.temperature,
        seed=trained_model.settings.seed,
        data_version=prepared.data_version,
        git_commit=commit_of(Path(__file__).parent),
        run_id=tracking_run,
        created_at=datetime.now(UTC),
        limits=limits,
    )
    folder = own_folder("export")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # the artifact store has its copy by then
    verdicts = build_package(trained_model, calibration.temperature, info, prepared, settings, Workspace.current(), folder)
    if verdicts:
        log_metadata({name: vars(verdict) for name, verdict in verdicts.items()})
    return ModelPackage(folder)
