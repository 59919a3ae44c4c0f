import functools
import hashlib
import http.server
import pickle
import threading
from pathlib import Path

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from imageloop.errors import ImageLoopError
from imageloop.model.package import weights_file
from imageloop.training.features import known_features
from imageloop.training.settings import TrainingSettings
from imageloop.training.trainer import train
from imageloop.training.user_weights import bring_weights
from imageloop.workspace_paths import Workspace
from tests.imageloop.training.test_trainer import images_of

ARCHITECTURE = "test_vit"
SIDE = 64


@pytest.fixture
def file(tmp_path) -> Path:
    torch.manual_seed(3)
    target = tmp_path / "mine.safetensors"
    save_file({name: value.contiguous() for name, value in timm.create_model(ARCHITECTURE).state_dict().items()}, target)
    return target


@pytest.fixture
def alone(tmp_path) -> Workspace:
    workspace = Workspace(tmp_path / "home")
    workspace.backbones.mkdir(parents=True)
    return workspace


def settings_with(file: Path | str, sha256: str | None = None, **model) -> TrainingSettings:
    sha256 = sha256 or hashlib.sha256(Path(file).read_bytes()).hexdigest()
    weights = {"source": str(file), "sha256": sha256}
    return TrainingSettings.model_validate(
        {"model": {"kind": "transfer", "backbone": ARCHITECTURE, "side_pixels": SIDE, "weights": weights, **model}}
    )


def test_a_transformer_with_weights_of_ones_own_is_trained_and_keeps_them(file, alone, draw_folder):
    settings = settings_with(file, loop={"max_epochs": 2})
    images = images_of(draw_folder(cat=12, dog=12), alone, SIDE)
    bring_weights(settings, alone)
    file.unlink()

    trained = train(images, settings, alone, lambda row: None)
    network = trained.build(alone.backbones)

    kept = load_file(weights_file(settings.model.backbone, alone.backbones))
    assert torch.equal(network.features.network.network.blocks[0].attn.qkv.weight, kept["blocks.0.attn.qkv.weight"])
    assert known_features(images, images.table, settings.model.backbone, alone).shape == (24, network.features.num_features)
    assert TrainingSettings.model_validate_json(settings.model_dump_json()) == settings


def test_other_weights_are_another_backbone(file):
    one = settings_with(file)
    other = settings_with(file, "0" * 64)

    assert one.model.backbone.startswith(f"{ARCHITECTURE}@")
    assert one.model.backbone != other.model.backbone


def test_weights_are_fetched_from_an_address(file, alone):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(file.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/mine.safetensors"
        settings = settings_with(url, hashlib.sha256(file.read_bytes()).hexdigest())
        bring_weights(settings, alone)
        server.shutdown()

    assert weights_file(settings.model.backbone, alone.backbones).read_bytes() == file.read_bytes()


def changed(file: Path, kind: str) -> Path:
    """Weights that cannot be used, under a name that promises them."""
    weights = load_file(file)
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-1000])
    elif kind == "a pickle":
        file.write_bytes(pickle.dumps({name: value.numpy() for name, value in weights.items()}))
    elif kind == "of another architecture":
        save_file({name: value.contiguous() for name, value in timm.create_model("test_resnet").state_dict().items()}, file)
    elif kind == "without a block":
        save_file({name: value for name, value in weights.items() if not name.startswith("blocks.1.")}, file)
    elif kind == "of another shape":
        save_file(weights | {"norm.weight": torch.zeros(3)}, file)
    return file


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "expected a whole file in the safetensors format"),
        ("a pickle", r"Pickles .* are not opened"),
        ("of another architecture", "expected the weights of 'test_vit' with timm's names"),
        ("without a block", "such as 'blocks.1."),
        ("of another shape", "0 tensors missing, 1 of another shape"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_and_not_kept(file, alone, kind, words):
    with pytest.raises(ImageLoopError, match=words):
        bring_weights(settings_with(changed(file, kind)), alone)

    assert list(alone.backbones.iterdir()) == []


def test_another_file_than_the_one_that_was_named_is_refused_before_it_is_opened(file, alone):
    with pytest.raises(ImageLoopError, match=rf"which is {hashlib.sha256(file.read_bytes()).hexdigest()}, got 0000"):
        bring_weights(settings_with(file, "0" * 64), alone)
    with pytest.raises(ImageLoopError, match="expected a file, got none"):
        bring_weights(settings_with(file.with_name("gone"), "0" * 64), alone)


def test_weights_changed_since_are_not_loaded(file, alone):
    settings = settings_with(file)
    bring_weights(settings, alone)
    kept = weights_file(settings.model.backbone, alone.backbones)
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")

    from imageloop.model.backbones import load_backbone

    with pytest.raises(ImageLoopError, match="expected a file with sha256"):
        load_backbone(settings.model.backbone, SIDE, alone.backbones)
    bring_weights(settings, alone)
    assert load_backbone(settings.model.backbone, SIDE, alone.backbones).num_features > 0


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"backbone": "test_vit+test_resnet", "weights": {"source": "x", "sha256": "0" * 64}}, "expected one backbone"),
        ({"backbone": "test_vit@000000000000"}, "expected weights for"),
        ({"weights": {"source": "x", "sha256": "abc"}}, "sha256"),
        ({"lora": {}}, "expected fine_tune_blocks above 0 with lora"),
        ({"distillation": {}}, "expected fine_tune_blocks above 0 with distillation"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(model, words):
    with pytest.raises(ValidationError, match=words):
        TrainingSettings.model_validate({"model": {"kind": "transfer", **model}})
