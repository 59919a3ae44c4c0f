import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer

from imageloop.errors import ImageLoopError
from imageloop.model.backbones import Features, Normalisation, blocks_of
from imageloop.model.feature_maps import ConvolutionalMap, TokenMap, feature_map_of
from imageloop.model.network import Classifier
from imageloop.model.onnx_export import attach_head, export_features
from imageloop.model.onnx_session import open_session

SIDE, PATCH = 48, 8


def small_transformer(**changes) -> VisionTransformer:
    torch.manual_seed(0)
    sizes = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
    return VisionTransformer(**sizes | changes).eval()


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_the_mean_of_the_map_is_what_the_tokens_say(pool):
    network = small_transformer(global_pool=pool, fc_norm=pool == "avg", class_token=pool == "token")
    images = torch.rand(2, 3, SIDE, SIDE)

    feature_map, num_features = feature_map_of(network, "small", SIDE)
    found = feature_map(images)

    tokens = network.forward_features(images)
    assert found.shape == (2, num_features, SIDE // PATCH, SIDE // PATCH)
    with_class = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1)
    expected = with_class if pool == "token" else network.fc_norm(tokens).mean(1)
    assert torch.allclose(found.mean((2, 3)), expected, atol=1e-5)


def test_a_cell_of_the_map_is_the_patch_that_lies_there():
    network = small_transformer(global_pool="avg", class_token=False, depth=0, pos_embed="none")
    images = torch.zeros(1, 3, SIDE, SIDE)
    images[:, :, 2 * PATCH : 3 * PATCH, 4 * PATCH : 5 * PATCH] = 1

    found = feature_map_of(network, "small", SIDE)[0](images)

    different = (found - found[:, :, :1, :1]).abs().sum(1)[0] > 1e-6
    assert different.nonzero().tolist() == [[2, 4]]


@pytest.mark.parametrize(("name", "kind"), [("test_vit", TokenMap), ("swin_tiny_patch4_window7_224", ConvolutionalMap), ("test_convnext", ConvolutionalMap)])  # fmt: skip
def test_networks_of_every_layout_have_a_map_and_blocks(name, kind):
    network = timm.create_model(name, num_classes=0).eval()
    side = network.pretrained_cfg["input_size"][-1]

    feature_map, num_features = feature_map_of(network, name, side)

    with torch.inference_mode():
        assert feature_map(torch.zeros(1, 3, side, side)).shape[1] == num_features
    assert isinstance(feature_map, kind)
    features = Features(feature_map, Normalisation((0.5,) * 3, (0.5,) * 3), num_features)
    assert all(any(True for _ in block.parameters()) for block in blocks_of(features))


def test_a_side_that_a_transformer_does_not_take_is_refused_by_name():
    with pytest.raises(ImageLoopError, match=r"side_pixels: expected a side that 'small' takes, got 40"):
        feature_map_of(small_transformer(), "small", 40)


def squares(count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]:
    """Noise with a square of two patches a side somewhere, red or green by class."""
    images = rng.integers(90, 150, (count, SIDE, SIDE, 3)).astype(np.uint8)
    targets, places = rng.integers(0, 2, count), []
    for image, target in zip(images, targets, strict=True):
        row, column = rng.integers(0, SIDE // PATCH - 1, 2)
        image[row * PATCH : (row + 2) * PATCH, column * PATCH : (column + 2) * PATCH, target] = 255
        places.append((int(row), int(column)))
    return torch.from_numpy(images), torch.from_numpy(targets), places


def test_the_heat_map_of_a_transformer_lies_where_occlusion_says(tmp_path):
    rng = np.random.default_rng(0)
    feature_map, num_features = feature_map_of(small_transformer(global_pool="token"), "small", SIDE)
    model = Classifier(Features(feature_map, Normalisation((0.5,) * 3, (0.25,) * 3), num_features), 2)
    images, targets, _ = squares(256, rng)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(25):
        for some in torch.randperm(256).split(32):
            loss = torch.nn.functional.cross_entropy(model(images[some]), targets[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    export_features(model.features, SIDE, tmp_path / "features.onnx")
    weight, bias = model.head.weight.detach().numpy(), model.head.bias.detach().numpy()
    attach_head(tmp_path / "features.onnx", tmp_path / "model.onnx", weight, bias, 1.0)
    session = open_session(tmp_path / "model.onnx", 1)
    run = lambda batch: session.run(["probabilities", "activation_map"], {"images": np.ascontiguousarray(batch)})

    shown, labels, places = squares(20, rng)
    probabilities, maps = run(shown.numpy())

    assert (probabilities.argmax(1) == labels.numpy()).mean() > 0.9
    drops_most, warmest = 0, 0
    for image, label, (row, column), each in zip(shown.numpy(), labels.numpy(), places, maps, strict=True):
        covered = np.stack([cover(image, at) for at in np.ndindex(SIDE // PATCH - 1, SIDE // PATCH - 1)])
        at = np.unravel_index(run(covered)[0][:, label].argmin(), (SIDE // PATCH - 1,) * 2)
        drops_most += abs(at[0] - row) <= 1 and abs(at[1] - column) <= 1
        heat = np.asarray(Image.fromarray(each[label] - each.mean(0)))
        cell = np.unravel_index(heat.argmax(), heat.shape)
        warmest += row <= cell[0] <= row + 1 and column <= cell[1] <= column + 1
    assert drops_most >= 16, "occlusion finds the square"
    assert warmest >= 16, "and so does the heat map"


def cover(image: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """The image with two patches a side in grey."""
    covered = image.copy()
    covered[at[0] * PATCH : (at[0] + 2) * PATCH, at[1] * PATCH : (at[1] + 2) * PATCH] = 120
    return covered
