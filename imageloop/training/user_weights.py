"""Bring the weights of a backbone that the user named to where backbones are kept, and check them before anything trains."""

import shutil
from pathlib import Path

from imageloop.atomic_files import hash_of, replacing
from imageloop.data.sources.verified_download import download
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.model.package import weights_file
from imageloop.shared_folder import VARIABLE, publish, shared_address
from imageloop.training.settings import TrainingSettings, Transfer, WeightsFile
from imageloop.workspace_paths import Workspace


def bring_weights(settings: TrainingSettings, workspace: Workspace) -> None:
    """Nothing happens where a training names no weights. Machines that share a folder find them there.

    Raises: ImageLoopError for a file that cannot be had, has another hash, is no safetensors file, or belongs to another architecture.
    """
    model = settings.model
    if not isinstance(model, Transfer) or model.weights is None:
        return
    target = weights_file(model.backbone, workspace.backbones)
    if target.exists() and hash_of(target) == model.weights.sha256:
        return
    from imageloop.model.backbone_weights import read_weights  # PyTorch
    from imageloop.model.backbones import load_backbone

    source = _source(model.weights, workspace.downloads)
    read_weights(source, model.weights.sha256)  # an error names the user's file
    with replacing(target) as aside:
        shutil.copyfile(source, aside)
    try:
        load_backbone(model.backbone, settings.side_pixels, workspace.backbones)
    except ImageLoopError:
        target.unlink()
        raise
    publish(target)


def refuse_unshared_weights(settings: TrainingSettings) -> None:
    """Raises: SettingsError for weights that the machines of the steps could not take from anywhere."""
    if isinstance(settings.model, Transfer) and settings.model.weights is not None and not shared_address(""):
        raise SettingsError(
            f"training.model.weights: expected {VARIABLE} to name a folder from which pods can take the weights, got nothing there; set it"
        )


def _source(weights: WeightsFile, downloads: Path) -> Path:
    if weights.is_url:
        return download(weights.source, weights.sha256, downloads / f"{weights.sha256}.safetensors")
    file = Path(weights.source)
    if not file.is_file():
        raise SettingsError(f"training.model.weights.source: expected a file, got none at '{file}'; check the path")
    if (found := hash_of(file)) != weights.sha256:
        raise SettingsError(
            f"training.model.weights.sha256: expected the SHA-256 of '{file}', which is {found}, got {weights.sha256}; "
            "see whether it is the file that you mean"
        )
    return file
