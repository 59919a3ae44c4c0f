import io
import shutil
import zipfile
from datetime import UTC, datetime

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError
from imageloop.model.backbones import Features, Normalisation
from imageloop.model.class_activation_map import draw_heat_map
from imageloop.model.half_precision import to_half_precision
from imageloop.model.int8_quantisation import quantise, safe_ranges
from imageloop.model.network import Classifier, baseline_features
from imageloop.model.onnx_export import _folded, attach_head, export_features
from imageloop.model.onnx_session import open_session
from imageloop.model.package import EXACT_MODEL, FP16_MODEL, INPUT, WEIGHTS, PackageError, PackageInfo
from imageloop.model.predictor import Predictor
from imageloop.model.pyfunc import _load_pyfunc
from imageloop.model.signing import SignatureError, private_key, public_key, sign

SIDE, TEMPERATURE = 32, 1.7


@pytest.fixture(scope="session")
def unsigned(tmp_path_factory):
    """A whole package of a small untrained network, and the network."""
    folder = tmp_path_factory.mktemp("package")
    torch.manual_seed(0)
    model = Classifier(baseline_features((8, 16)), 2).eval()
    export_features(model.features, SIDE, folder / "features.onnx")
    weight, bias = (value.detach().numpy() for value in (model.head.weight, model.head.bias))
    attach_head(folder / "features.onnx", folder / EXACT_MODEL, weight, bias, TEMPERATURE)
    (folder / "features.onnx").unlink()
    torch.save(model.state_dict(), folder / WEIGHTS)
    PackageInfo(
        class_names=["cat", "dog"], side_pixels=SIDE, preprocessing_version="1", model_kind="baseline_cnn", backbone="", temperature=TEMPERATURE,
        seed=0, data_version="v", git_commit="c", run_id="r", created_at=datetime.now(UTC),
    ).write(folder)  # fmt: skip
    (folder / "reference.parquet").write_bytes(b"reference")
    return folder, model


@pytest.fixture
def package(unsigned, tmp_path, workspace):
    folder = shutil.copytree(unsigned[0], tmp_path / "package")
    sign(folder, private_key(workspace.keys))
    return folder


def image_bytes(seed=0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (50, 70, 3)).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_quantising_leaves_the_folder_alone_that_other_runs_read(unsigned, tmp_path):
    folder = tmp_path / "backbones"
    folder.mkdir()
    export_features(unsigned[1].features, SIDE, folder / "features.onnx")
    before = folder.stat().st_mtime_ns

    quantise(folder / "features.onnx", tmp_path / "int8.onnx", np.zeros((2, SIDE, SIDE, 3), np.uint8))

    assert folder.stat().st_mtime_ns == before
    assert (tmp_path / "int8.onnx").stat().st_size > 0


def test_int8_predicts_the_same_on_every_processor(tmp_path):
    """Large weights of one sign on bright images: their products overflow where two are added in 16 bits, and weights do not leave room."""
    rng = np.random.default_rng(0)
    weights = {
        "dense": rng.uniform(0.9, 1.0, (32, 3, 1, 1)), "denser": rng.uniform(0.02, 0.03, (32, 32, 1, 1)),
        "grouped": rng.uniform(0.1, 0.2, (32, 8, 1, 1)), "depthwise": rng.normal(0, 1, (32, 1, 3, 3)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["pixels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["pixels", "dense"], ["first"]),
        helper.make_node("Conv", ["first", "denser"], ["second"]),
        helper.make_node("Conv", ["second", "grouped"], ["third"], group=4),
        helper.make_node("Conv", ["third", "depthwise"], ["feature_map"], group=32),
        helper.make_node("ReduceMean", ["feature_map", "cells"], ["embedding"], keepdims=0),
    ]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([2, 3]), "cells"))
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 32])]
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "bright", [images], outputs, constants), opset_imports=opsets, ir_version=10),
        tmp_path / "exact.onnx",
    )
    bright = rng.integers(200, 256, (8, SIDE, SIDE, 3)).astype(np.uint8)

    quantise(tmp_path / "exact.onnx", tmp_path / "int8.onnx", bright)

    exact, small = (
        open_session(tmp_path / name, 1).run(["embedding"], {"images": bright})[0] for name in ("exact.onnx", "int8.onnx")
    )
    assert np.abs(small - exact).max() < 0.02 * np.abs(exact).max()
    kept = {part.name: numpy_helper.to_array(part) for part in onnx.load(tmp_path / "int8.onnx").graph.initializer}
    for name in ("dense", "denser", "grouped"):
        assert np.abs(kept[f"{name}_quantized"][:, :2].astype(int).sum(1)).max() in (127, 128)
    assert np.abs(kept["depthwise_quantized"].astype(int)).max() == 127


@pytest.mark.parametrize(
    ("channels", "group", "expected"),
    [
        ([[[[1.0, 0.5]], [[1.0, -0.5]]]], 1, [2.0]),  # two input channels at two places: neighbours are 1 and 1, 0.5 and -0.5
        ([[[[1.0, 0.5]], [[-1.0, 0.5]]]], 1, [1.0]),
        ([[[[0.5, 0.75, 1.0]]]], 1, [1.25]),
        ([[[[0.5, 0.75, 1.0]]], [[[1.0, 1.0, 1.0]]]], 2, [1.0, 1.0]),  # depthwise
    ],
)
def test_a_range_holds_every_sum_of_two_neighbours_where_they_are_added(channels, group, expected):
    assert safe_ranges(np.array(channels, np.float32), group).tolist() == expected


def test_torch_and_onnx_give_the_same_probabilities(unsigned, package, workspace):
    model, predictor = unsigned[1], Predictor.load(package, public_key(workspace.keys), threads=1)
    contents = [image_bytes(seed) for seed in range(11)]
    images = np.stack([preprocess(content, SIDE, Limits()) for content in contents])
    with torch.inference_mode():
        expected = (model(torch.from_numpy(images)) / TEMPERATURE).softmax(1).numpy()

    found = predictor.predict(contents)

    assert np.abs(found.probabilities - expected).max() < 1e-4
    assert found.labels == [["cat", "dog"][place] for place in expected.argmax(1)]
    assert found.embeddings.shape == (11, 16)
    assert np.allclose(predictor.predict(images).probabilities, found.probabilities, atol=1e-6)
    assert predictor.predict([]).labels == []


def test_a_package_does_not_say_where_it_was_made(unsigned):
    assert b".py" not in (unsigned[0] / EXACT_MODEL).read_bytes()


def test_bad_images_are_refused_in_order_and_the_others_predicted(package, workspace):
    predictor = Predictor.load(package, public_key(workspace.keys), threads=1)
    contents = [image_bytes(1), b"no image", image_bytes(2), b""]

    predictions = list(predictor.predict_each(contents))

    assert [isinstance(answer, ImageRefusedError) for answer in predictions] == [False, True, False, True]
    assert predictions[0].probability == max(predictions[0].probabilities.values())
    with pytest.raises(ImageRefusedError):
        predictor.predict(contents)


def test_only_the_images_of_a_message_are_limited_together(package, workspace):
    """A batch of any length is no message: its files are decoded one after the other."""
    predictor = Predictor.load(package, public_key(workspace.keys))
    content = io.BytesIO()
    Image.effect_noise((400, 400), 60).convert("RGB").save(content, "PNG")
    predictor.limits = predictor.limits.model_copy(update={"max_decoding_bytes": 2**20})

    assert len(predictor.predict([content.getvalue()] * 5).labels) == 5
    with pytest.raises(ImageRefusedError, match="5 images in one message are too many"):
        predictor.preprocess_all([content.getvalue()] * 5)


def test_the_heat_map_explains_the_prediction(package, workspace):
    predictor = Predictor.load(package, public_key(workspace.keys), threads=1)

    answer, heat = predictor.explain(image_bytes())
    _, other = predictor.explain(image_bytes(), "cat" if answer.label == "dog" else "dog")

    assert heat.min() == 0
    assert heat.max() == 1
    assert np.allclose(heat, 1 - other, atol=1e-4)
    assert draw_heat_map(predictor, image_bytes()).size == (2 * SIDE, SIDE + 20)


def test_the_torch_weights_load_without_pickle(package, unsigned):
    state = torch.load(package / WEIGHTS, weights_only=True)

    unsigned[1].load_state_dict(state)


def test_mlflows_loader_gives_a_table(package, workspace):
    table = _load_pyfunc(str(package)).predict([image_bytes()])

    assert list(table.columns) == ["cat", "dog", "label"]


def flip_a_byte(folder):
    content = bytearray((folder / EXACT_MODEL).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / EXACT_MODEL).write_bytes(content)


def put_a_bomb(folder):
    with zipfile.ZipFile(folder / WEIGHTS, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50 * 2**20))


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        put_a_bomb,
        lambda folder: (folder / "extra.py").write_text("import os"),
        lambda folder: (folder / "signature").write_text("{}"),
        lambda folder: (folder / "model.json").write_text((folder / "model.json").read_text().replace("cat", "cow")),
        lambda folder: (folder / "link").symlink_to("/etc/passwd"),
    ],
    ids=["flipped byte", "bomb", "added file", "no signature", "other names", "link"],
)
def test_a_changed_package_is_refused_before_it_is_opened(package, workspace, damage, monkeypatch):
    damage(package)
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("opened"))

    with pytest.raises(SignatureError):
        Predictor.load(package, public_key(workspace.keys))


class _Normalised(nn.Module):
    """A convolution and a normalisation in this order, which are called in that one or the other; more follows that does not fit."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.norm_first = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), norm_first
        self.norm.running_mean = torch.tensor([0.5, 1.0, 2.0])
        self.wide, self.narrow = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(3)

    def forward(self, images_BCHW):
        return self.conv(self.norm(images_BCHW)) if self.norm_first else self.norm(self.conv(images_BCHW))


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_normalisation_is_folded_where_that_changes_nothing(norm_first):
    features = Features(_Normalised(norm_first=norm_first), Normalisation((0.5,) * 3, (0.5,) * 3), 3).eval()
    images = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)

    folded = _folded(features, images)

    assert isinstance(folded.network.norm, nn.BatchNorm2d) == norm_first
    assert isinstance(features.network.norm, nn.BatchNorm2d)
    assert torch.allclose(folded(images), features(images), atol=1e-4)


@pytest.mark.parametrize("name", [EXACT_MODEL, WEIGHTS, "model.json", "reference.parquet", "signature"])
def test_a_missing_file_is_named(package, workspace, name):
    (package / name).unlink()

    with pytest.raises(PackageError, match=name.replace(".", r"\.")):
        Predictor.load(package, public_key(workspace.keys))


def test_another_key_is_refused(package, workspace, tmp_path, monkeypatch):
    other = private_key(tmp_path / "other").with_name("signing.pub")
    monkeypatch.setenv("IMAGELOOP_VERIFICATION_KEY", str(other))

    with pytest.raises(SignatureError, match="IMAGELOOP_VERIFICATION_KEY"):
        Predictor.load(package, public_key(workspace.keys))


def test_keys_are_private_and_a_named_key_must_be_there(workspace, monkeypatch):
    assert private_key(workspace.keys).stat().st_mode & 0o077 == 0

    monkeypatch.setenv("IMAGELOOP_SIGNING_KEY", "/nowhere")
    with pytest.raises(SignatureError, match="IMAGELOOP_SIGNING_KEY"):
        private_key(workspace.keys)


def test_an_fp16_copy_predicts_nearly_the_same(unsigned, tmp_path):
    folder = shutil.copytree(unsigned[0], tmp_path / "half")
    to_half_precision(folder / EXACT_MODEL, folder / FP16_MODEL)
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.uint8)

    exact, half = (open_session(folder / name, 1).run(None, {INPUT: images}) for name in (EXACT_MODEL, FP16_MODEL))

    assert (folder / FP16_MODEL).stat().st_size < 0.6 * (folder / EXACT_MODEL).stat().st_size
    assert [part.dtype for part in half] == [part.dtype for part in exact]
    assert np.abs(exact[0] - half[0]).max() < 0.02


def test_verifying_makes_no_key(workspace):
    with pytest.raises(SignatureError, match="got none"):
        public_key(workspace.keys)


def test_a_description_that_makes_no_sense_is_refused(unsigned, tmp_path, workspace):
    folder = shutil.copytree(unsigned[0], tmp_path / "odd")
    (folder / "model.json").write_text('{"class_names": []}')
    sign(folder, private_key(workspace.keys))

    with pytest.raises(PackageError, match="class_names"):
        Predictor.load(folder, public_key(workspace.keys))
