"""What a step's cache key must know besides its own source and inputs: the code that it calls, and the state that it reads.

ZenML calls these functions by name before each step and puts what they return into the step's key.
"""

import hashlib
from pathlib import Path

from zenml.config.cache_policy import CachePolicy

from imageloop.code_fingerprint import core_fingerprint, source_fingerprint
from imageloop.workspace_paths import Workspace

ROOMS = ("imageloop/adapters", "imageloop/lifecycle", "materializers")


def code_state() -> str:
    """Another value when the core, an adapter or a materializer changes, or this machine's artifacts are others: ZenML remembers deleted ones."""
    root, mark = Path(__file__).parents[1], Workspace.current().artifacts_mark
    artifacts = mark.read_text() if mark.exists() else ""
    return f"{core_fingerprint()}:{source_fingerprint(*(root / room for room in ROOMS))}:{artifacts}"


def code_and_prepared_state() -> str:
    """Return a value that also changes when a shard of prepared images is added, removed or changed."""
    digest = hashlib.sha256(code_state().encode())
    for shard in sorted(Workspace.current().prepared.rglob("*.npy")):
        status = shard.stat()
        digest.update(f"{shard.name}:{status.st_size}:{status.st_mtime_ns};".encode())
    return digest.hexdigest()


def code_and_champion_state() -> str:
    """Another value, too, when another version serves: a gate's verdict depends on it."""
    from imageloop.adapters.champion_history import later_champions

    return f"{code_state()}:{later_champions()}"


ON_CODE = CachePolicy(cache_func="steps.cache_keys.code_state")
ON_CODE_AND_PREPARED = CachePolicy(cache_func="steps.cache_keys.code_and_prepared_state")
ON_CODE_AND_CHAMPION = CachePolicy(cache_func="steps.cache_keys.code_and_champion_state")
