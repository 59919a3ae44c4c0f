"""What the pipelines that train have in common: images in, and a trained model to a registered version."""

from dataclasses import dataclass
from typing import Any

from imageloop.data.settings import DataSettings
from imageloop.promotion.settings import PromotionSettings
from imageloop.training.settings import TrainingSettings
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
from steps.training.find_label_issues import find_label_issues
from steps.training.train import train


@dataclass(frozen=True)
class PreparedData:
    """The artifacts of the data steps."""

    prepared: Any
    data_version: Any


def prepared_data(data: DataSettings, side_pixels: int, fingerprint: str) -> PreparedData:
    """Images from the source to the store, checked, split and versioned."""
    files, raw_version = ingest(data, side_pixels, fingerprint)
    valid_files = validate(files, data)
    catalog = split(valid_files, data)
    data_version = version(catalog, raw_version, data)
    return PreparedData(prepare(catalog, raw_version, data_version, data.versioning, side_pixels), data_version)


def registered_model(
    found: PreparedData,
    feedback: Any,
    settings: Any,
    label_settings: TrainingSettings,
    data: DataSettings,
    promotion: PromotionSettings,
) -> None:
    """Train, evaluate, judge and register. `settings` of the training: values, or the artifact of a step; `label_settings` judge labels."""
    prepared = found.prepared
    trained_model, tracking_run = train(prepared, found.data_version, feedback, settings)
    find_label_issues(prepared, label_settings.label_backbone, label_settings.device)
    calibration = calibrate(trained_model)
    exported_package = export(trained_model, calibration, prepared, tracking_run, promotion.export, data.limits)
    evaluation = evaluate(exported_package, prepared, tracking_run)
    verdict = gate(exported_package, evaluation, prepared, feedback, promotion)
    package = sign(exported_package, evaluation, prepared, feedback, promotion.gates, promotion.export, after="gate")
    register(package, evaluation, verdict, prepared, tracking_run, feedback, promotion, data, settings)
