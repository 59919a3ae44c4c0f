"""A registered version, ready to predict."""

from dataclasses import dataclass
from pathlib import Path

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.embeddings.novelty import Novelty
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.choose_version import other_models
from imageloop.model.predictor import Predictor
from imageloop.model.signing import public_key
from imageloop.workspace_paths import Workspace


@dataclass(frozen=True)
class RegisteredPredictor:
    """A version's package in a folder here, its predictor, verified, and its novelty reference where it has one."""

    version: str
    folder: Path
    predictor: Predictor
    novelty: Novelty | None


def load_version(model_name: str, version: str | None, *, exact: bool = False, folder: Path | None = None) -> RegisteredPredictor:
    """Load a version of the registry, by default the champion. `folder`: its package, where it is here already.

    Raises: ImageLoopError if there is none.
    """
    registry = ModelRegistry(model_name)
    version = version or registry.champion()
    if version is None:
        newest = next(iter(registry.versions()), None)
        remedy = (
            f"train a model first: python run.py train --model {model_name}{other_models(registry)}"
            if newest is None
            else f"name a version, as --version {newest.version}; why none is the champion: python run.py versions --model {model_name}"
        )
        raise ImageLoopError(f"expected a champion of '{model_name}', got none; {remedy}")
    folder = folder or registry.package(version)
    predictor = Predictor.load(folder, public_key(Workspace.current().keys), exact=exact)
    return RegisteredPredictor(version, folder, predictor, Novelty.read(folder))
