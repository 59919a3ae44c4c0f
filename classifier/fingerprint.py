"""What the code of the core is now: a step whose core changed must run again, whatever its own source says."""

import functools
import hashlib
import importlib.metadata
from pathlib import Path

LIBRARIES = ("numpy", "pillow", "torch", "onnxruntime", "onnx", "pandas")


@functools.cache
def core_fingerprint() -> str:
    """A hash of every Python file of this package and of the versions of the libraries that decide its results."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    for name in LIBRARIES:
        digest.update(f"{name}=={importlib.metadata.version(name)}\0".encode())
    return digest.hexdigest()[:16]
