"""From a folder of images to a registered model."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from imageloop.data.settings import DataSettings
from imageloop.promotion.settings import PromotionSettings
from imageloop.training.settings import FeedbackSettings, TrainingSettings
from pipelines.container_image import PIPELINE_IMAGE
from steps.data.ingest import ingest
from steps.data.prepare import prepare
from steps.data.split import split
from steps.data.validate import validate
from steps.data.version import version
from steps.promotion.calibrate import calibrate
from steps.promotion.evaluate import evaluate
from steps.promotion.export import export
from steps.promotion.gate import gate
from steps.promotion.register import register
from steps.promotion.sign import sign
from steps.training.collect_feedback import collect_feedback
from steps.training.find_label_issues import find_label_issues
from steps.training.train import train


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings={"docker": PIPELINE_IMAGE})
def training(
    data: DataSettings,
    training: TrainingSettings,
    promotion: PromotionSettings,
    feedback: FeedbackSettings,
    side_pixels: int,
    fingerprint: str,
    feedback_fingerprint: str,
) -> None:
    # data
    files, raw_version = ingest(data, side_pixels, fingerprint)
    valid_files = validate(files, data)
    catalog = split(valid_files, data)
    data_version = version(catalog, raw_version, data)
    prepared = prepare(catalog, raw_version, data_version, data.versioning, side_pixels)

    # training
    met = collect_feedback(prepared, feedback, promotion.model_name, feedback_fingerprint)
    trained_model, tracking_run = train(prepared, data_version, met, training)
    find_label_issues(prepared, training.label_backbone, training.device)
    calibration = calibrate(trained_model)
    exported_package = export(trained_model, calibration, prepared, tracking_run, promotion.export, data.limits)

    # promotion
    evaluation = evaluate(exported_package, prepared, tracking_run)
    verdict = gate(exported_package, evaluation, prepared, met, promotion)
    package = sign(exported_package, evaluation, prepared, met, promotion.gates, promotion.export, after="gate")
    register(package, evaluation, verdict, prepared, tracking_run, met, promotion, data, training)
