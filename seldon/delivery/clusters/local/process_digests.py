"""What a process on this machine runs, as a hash: where it differs, another process takes over."""

import hashlib

from imageloop.code_fingerprint import source_fingerprint
from imageloop.workspace_paths import PROJECT
from seldon.delivery.manifest import PredictorSpec

SERVED_CODE = (  # as the Dockerfile copies it
    "imageloop/data", "imageloop/embeddings", "imageloop/model", "imageloop/records",
    "seldon/service", "seldon/launcher.py", "seldon/microservice.py", "seldon/model_server.py",
)  # fmt: skip


def process_digest(predictor: PredictorSpec) -> str:
    """Hash what a replica runs: its part of the manifest, the code, and the lock of the packages, which are its image here."""
    return hashlib.sha256(f"{predictor.process()} {_code()}".encode()).hexdigest()[:16]


def code_digest() -> str:
    """Hash the code and the lock of the packages alone: what a process of several models runs."""
    return hashlib.sha256(_code().encode()).hexdigest()[:16]


def _code() -> str:
    places = [*sorted((PROJECT / "imageloop").glob("*.py")), *(PROJECT / place for place in SERVED_CODE)]
    return source_fingerprint(*places) + (PROJECT / "requirements" / "serving.txt").read_text()
