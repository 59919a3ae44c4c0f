"""What our code is now: a step whose core changed must run again, whatever its own source says."""

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
    digest = hashlib.sha256(source_fingerprint(*(root / room for room in CORE_ROOMS)).encode())
    for path in sorted(root.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for name in LIBRARIES:
        digest.update(f"{name}=={importlib.metadata.version(name)}\0".encode())
    return digest.hexdigest()[:16]


@functools.cache
def source_fingerprint(*rooms: Path) -> str:
    """A hash of the names and contents of every Python file below these folders, as they were when this process first asked."""
    digest = hashlib.sha256()
    for room in rooms:
        for path in sorted(room.rglob("*.py")):
            digest.update(path.relative_to(room.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
