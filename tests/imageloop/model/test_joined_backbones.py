"""Several backbones side by side: as one network, as one ONNX file, as features."""

import numpy as np
import pytest
import torch

from imageloop.errors import ImageLoopError
from imageloop.model import backbones
from imageloop.model.backbones import JoinedFeatures, blocks_of, load_backbone
from imageloop.model.network import baseline_features
from imageloop.training.features import FeatureExtractor
from imageloop.training.settings import TrainingSettings, Transfer

NAMES = "efficientnet_lite0+efficientnet_lite1"


def test_features_are_those_of_each_backbone_one_after_the_other(workspace):
    rng = np.random.default_rng(0)
    images_BSSC = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    network = load_backbone(NAMES)
    with torch.inference_mode():
        of_network = network(torch.from_numpy(images_BSSC)).mean((2, 3)).numpy()

    found = FeatureExtractor.of(NAMES, 64, workspace)

    each = [FeatureExtractor.of(name, 64, workspace).run(images_BSSC) for name in NAMES.split("+")]
    assert found.num_features == network.num_features == 2560
    assert np.array_equal(found.run(images_BSSC), np.concatenate(each, axis=1))
    assert np.allclose(of_network, found.run(images_BSSC), atol=1e-3)


def test_the_last_blocks_of_all_are_trained_together():
    first, second = baseline_features((4, 8)), baseline_features((4, 8, 16))
    levels = blocks_of(JoinedFeatures([first, second]))

    assert len(levels) == max(len(blocks_of(first)), len(blocks_of(second)))
    last = {id(parameter) for parameter in levels[-1].parameters()}
    assert last == {id(parameter) for one in (first, second) for parameter in blocks_of(one)[-1].parameters()}


def test_maps_of_different_sizes_are_refused(monkeypatch):
    stages = {"small": (4, 8), "large": (4, 8, 16)}
    load = backbones.load_backbone
    monkeypatch.setattr(
        backbones, "load_backbone", lambda name, *_: load(name) if "+" in name else baseline_features(stages[name])
    )

    with pytest.raises(
        ImageLoopError, match="expected backbones whose feature maps have one size, got small 56 x 56, large 28 x 28 cells"
    ):
        load("small+large")


def test_settings_take_a_list_or_joined_names_and_the_largest_side():
    settings = TrainingSettings.model_validate(
        {"model": {"kind": "transfer", "backbone": ["efficientnet_lite0", "efficientnet_lite2"]}}
    )

    assert settings.model == Transfer(backbone="efficientnet_lite0+efficientnet_lite2")
    assert settings.side_pixels == 260
    with pytest.raises(ValueError, match="backbone"):
        Transfer(backbone="efficientnet_lite0+")
