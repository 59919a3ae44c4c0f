"""Build the untrained network that the settings name."""

from pathlib import Path

import torch

from imageloop.model.backbones import load_backbone
from imageloop.model.network import Classifier, baseline_features
from imageloop.training.settings import BaselineCnn, TrainingSettings, Transfer


def new_classifier(settings: TrainingSettings, num_classes: int, backbones: Path) -> Classifier:
    """A network with an untrained head; its first weights depend on the seed alone. `backbones`: the folder with weights of the user's own."""
    torch.manual_seed(settings.seed)
    match settings.model:
        case BaselineCnn() as model:
            return Classifier(baseline_features(model.channels), num_classes, model.dropout)
        case Transfer() as model:
            return Classifier(load_backbone(model.backbone, settings.side_pixels, backbones), num_classes)
