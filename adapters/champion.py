"""The champion's answers to a candidate's test pictures."""

import os

from adapters.registry import ModelRegistry
from classifier.data.prepared import PreparedPictures
from classifier.model.predictor import Predictor
from classifier.model.signing import public_key
from classifier.promotion.evaluation import evaluate
from classifier.promotion.gates import Champion
from classifier.workspace import Workspace


def champion_on(pictures: PreparedPictures, model_name: str) -> Champion | None:
    """None where there is no champion yet; without answers where it knows other classes."""
    registry = ModelRegistry(model_name)
    version = registry.champion()
    if version is None:
        return None
    workspace = Workspace.current()
    folder = registry.package(version)
    predictor = Predictor.load(folder, public_key(workspace.keys), threads=os.cpu_count() or 1)
    names = predictor.info.class_names
    if names != pictures.class_names:
        return Champion(version, names, None)
    seen = pictures.at_side(predictor.info.side_pixels, workspace.prepared)
    return Champion(version, names, evaluate(predictor, folder, seen, workspace).predictions)
