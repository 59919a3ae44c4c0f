"""From a trained model to the files of a package: exact, quantised where that is good enough, and the torch weights."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from imageloop.code_fingerprint import core_fingerprint
from imageloop.data.prepared_images import PreparedImages, in_batches
from imageloop.errors import ImageLoopError
from imageloop.evenly_spaced import evenly_spaced
from imageloop.model.half_precision import to_half_precision
from imageloop.model.int8_quantisation import is_convolutional, quantise
from imageloop.model.network import Classifier
from imageloop.model.onnx_export import attach_head, export_features
from imageloop.model.package import EXACT_MODEL, FP16_MODEL, INT8_MODEL, PRECISIONS, WEIGHTS, PackageInfo
from imageloop.model.predictor import Predictor
from imageloop.progress import track, waiting
from imageloop.promotion.precision_gate import PrecisionVerdict, judge_precision
from imageloop.promotion.settings import ExportSettings
from imageloop.training.features import exported_backbone, is_whole, seal
from imageloop.training.settings import Transfer
from imageloop.training.trained_model import TrainedModel
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
MAX_DIFFERENCE = 1e-4  # between torch and ONNX, in probability
NUM_AT_ONCE = 256  # images in memory


def build_package(
    trained: TrainedModel,
    temperature: float,
    info: PackageInfo,
    images: PreparedImages,
    settings: ExportSettings,
    workspace: Workspace,
    target: Path,
) -> dict[str, PrecisionVerdict]:
    """Write model.onnx, weights.pt, model.json and, where they pass, model.int8.onnx and model.fp16.onnx to the folder `target`.

    Returns: what was found of each less precise model, by its precision.

    Raises: ImageLoopError if torch and ONNX do not give the same probabilities.
    """
    target.mkdir(parents=True, exist_ok=True)
    info.write(target)
    model = trained.build(workspace.backbones)
    torch.save(model.state_dict(), target / WEIGHTS)
    features = _features_file(trained, model, images.side_pixels, workspace, target)
    weight_KD, bias_K = (value.detach().numpy() for value in (model.head.weight, model.head.bias))
    attach_head(features, target / EXACT_MODEL, weight_KD, bias_K, temperature)
    exact = Predictor(target / EXACT_MODEL, info, threads=2)
    _check_agreement(model, temperature, exact, images, workspace)
    verdicts, made = {}, []
    if settings.int8 and not is_convolutional(features):
        logger.info("only convolutional networks are quantised: fp32 is used")
    elif settings.int8:
        small = _quantised_file(features, images, settings, workspace)
        attach_head(small, target / INT8_MODEL, weight_KD, bias_K, temperature)
        made.append(INT8_MODEL)
    if settings.fp16:
        to_half_precision(target / EXACT_MODEL, target / FP16_MODEL)
        made.append(FP16_MODEL)
    for name in made:
        verdict = verdicts[PRECISIONS[name]] = _judge(
            trained, Predictor(target / name, info, threads=2), images, settings, workspace
        )
        if not verdict.accepted:
            (target / name).unlink()
    (target / "features.onnx").unlink(missing_ok=True)
    return verdicts


def _features_file(trained: TrainedModel, model: Classifier, side: int, workspace: Workspace, target: Path) -> Path:
    if trained.head_only and isinstance(trained.settings.model, Transfer):
        return exported_backbone(trained.settings.model.backbone, side, workspace.backbones)
    file = target / "features.onnx"
    export_features(model.features, side, file)
    return file


def _quantised_file(features: Path, images: PreparedImages, settings: ExportSettings, workspace: Workspace) -> Path:
    """The int8 model from the cache: a frozen backbone is quantised once for every head."""
    keys = sorted(images.of_split("train")["sha256"])
    chosen = [keys[i] for i in evenly_spaced(len(keys), settings.num_calibration_images)]
    identity = hashlib.sha256("".join([core_fingerprint(), *chosen]).encode() + features.read_bytes()).hexdigest()[:16]
    file = workspace.backbones / f"int8-{identity}.onnx"
    if not is_whole(file):
        logger.info("quantising the model, which takes some seconds")
        with waiting("quantise"):
            quantise(features, file, images.open_store(workspace.prepared).read(chosen))
        seal(file)
    return file


def _check_agreement(
    model: Classifier, temperature: float, exact: Predictor, images: PreparedImages, workspace: Workspace
) -> None:
    keys = images.of_split("validation")["sha256"].tolist()[:16]
    images_BSSC = images.open_store(workspace.prepared).read(keys)
    with torch.inference_mode():
        expected_probabilities = (model(torch.from_numpy(images_BSSC)) / temperature).softmax(1).numpy()
    difference = float(np.abs(expected_probabilities - exact.predict(images_BSSC).probabilities).max())
    if difference > MAX_DIFFERENCE:
        raise ImageLoopError(
            f"expected the same probabilities from torch and ONNX, got {difference:.2g} between them; do not use this export"
        )
    logger.info("torch and ONNX differ by at most %.2g", difference)


def _judge(
    trained: TrainedModel, smaller: Predictor, images: PreparedImages, settings: ExportSettings, workspace: Workspace
) -> PrecisionVerdict:
    """Compare the predictions of a less precise model with those of the exact one on the same validation images."""
    keys = images.of_split("validation")["sha256"].tolist()  # the first rows; those of labelled predictions come after
    batches = track(
        in_batches(images.open_store(workspace.prepared), keys, NUM_AT_ONCE), f"try {smaller.precision}", len(keys), NUM_AT_ONCE
    )
    smaller_NK = np.concatenate([smaller.predict(batch).probabilities for batch in batches])
    exact_NK = softmax(trained.validation_logits_NK[: len(keys)] / smaller.info.temperature, axis=1)
    return judge_precision(exact_NK, smaller_NK, trained.validation_targets_N[: len(keys)], settings, smaller.precision)
