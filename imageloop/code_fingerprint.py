"""A fingerprint of the code: a step must run again when the core that it calls changed."""

import functools
import hashlib
import importlib.metadata
from pathlib import Path

CORE_ROOMS = ("data", "embeddings", "model", "monitoring", "promotion", "training")
LIBRARIES = (
    "numpy", "pillow", "torch", "torchvision", "timm", "onnxruntime", "onnx", "pandas", "scipy", "scikit-learn", "cleanlab",
)  # fmt: skip


@functools.cache
def core_fingerprint() -> str:
    """A hash of every Python file of the core and of the versions of the libraries that decide its results."""
    root = Path(__file__).parent
    digest = hashlib.sha256(source_fingerprint(*sorted(root.glob("*.py")), *(root / room for room in CORE_ROOMS)).encode())
    for name in LIBRARIES:
        digest.update(f"{name}=={importlib.metadata.version(name)}\0".encode())
    return digest.hexdigest()[:16]


@functools.cache
def source_fingerprint(*places: Path) -> str:
    """A hash of names and contents of these Python files, and of all below these folders, as this process first read them."""
    digest = hashlib.sha256()
    for place in places:
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(path.relative_to(place.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
