"""Where models are opened: what is decided without a GPU, which no test here has."""

import os
import subprocess
import sys

import numpy as np
import pytest

from imageloop.errors import SettingsError
from imageloop.model import onnx_session
from imageloop.model.onnx_session import CPU, CUDA, GpuLostError, runs_on_gpu
from imageloop.model.package import EXACT_MODEL, FP16_MODEL, INT8_MODEL
from imageloop.model.predictor import Predictor, _model_file


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """machine(build for GPUs?, a GPU?, IMAGELOOP_DEVICE) -> whether models run on the GPU."""

    def decide(built: bool, found: bool, device: str = "") -> bool:
        driver = tmp_path / "nvidiactl"
        driver.unlink(missing_ok=True)
        if found:
            driver.touch()
        monkeypatch.setattr(onnx_session, "GPU_FILES", (str(driver),))
        monkeypatch.setattr(onnx_session.onnxruntime, "get_available_providers", lambda: [CUDA, CPU] if built else [CPU])
        monkeypatch.setenv("IMAGELOOP_DEVICE", device)
        runs_on_gpu.cache_clear()
        return runs_on_gpu()

    yield decide
    runs_on_gpu.cache_clear()


@pytest.mark.parametrize(
    ("built", "found", "device", "gpu"),
    [(True, True, "", True), (True, True, "auto", True), (True, True, "cpu", False), (True, False, "", False), (False, True, "", False)],
)  # fmt: skip
def test_a_gpu_is_used_where_there_is_one_and_the_build_can(machine, built, found, device, gpu):
    assert machine(built, found, device) is gpu


@pytest.mark.parametrize(
    ("built", "found", "device", "words"),
    [
        (True, False, "cuda", "got no GPU"),
        (False, True, "cuda", "a build of ONNX Runtime for processors"),
        (True, True, "tpu", "expected auto, cpu, cuda, got 'tpu'"),
    ],
)
def test_a_device_that_is_asked_for_and_not_there_is_refused(machine, built, found, device, words):
    with pytest.raises(SettingsError, match=words):
        machine(built, found, device)


def test_a_gpu_takes_fp16_and_a_processor_int8_where_the_package_holds_them(machine, tmp_path):
    chosen = {}
    for names in ((), (INT8_MODEL,), (INT8_MODEL, FP16_MODEL)):
        folder = tmp_path / str(len(names))
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        chosen[len(names)] = [(machine(gpu, gpu), _model_file(folder, exact=False).name)[1] for gpu in (False, True)]

    assert chosen == {0: [EXACT_MODEL, EXACT_MODEL], 1: [INT8_MODEL, EXACT_MODEL], 2: [INT8_MODEL, FP16_MODEL]}


@pytest.mark.parametrize(("on_gpu", "text", "error"), [(True, "CUDA failure 700", GpuLostError), (False, "CUDA failure 700", RuntimeError), (True, "wrong shape", RuntimeError)])  # fmt: skip
def test_only_an_error_of_the_gpu_is_taken_for_a_lost_one(on_gpu, text, error):
    class Session:
        def run(self, *_: object) -> None:
            raise RuntimeError(text)

    predictor = object.__new__(Predictor)
    predictor._session, predictor.on_gpu = Session(), on_gpu

    with pytest.raises(RuntimeError) as raised:
        predictor._run(np.zeros((1, 8, 8, 3), np.uint8))
    assert type(raised.value) is error


def test_onnx_runtime_sends_nothing_and_leaves_no_id_of_the_device(tmp_path):
    """Its wheels do both by default; in a process of its own, for the library reads the environment once."""
    code = (
        "from imageloop.model.onnx_session import open_session\n"
        "from onnx import TensorProto, helper\n"
        "x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in 'xy')\n"
        "graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'g', [x], [y])\n"
        "model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)\n"
        "open_session(model.SerializeToString(), 1)\n"
    )
    unset = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI")}
    subprocess.run([sys.executable, "-c", code], env=unset | {"HOME": str(tmp_path)}, check=True)

    assert list(tmp_path.rglob("*onnxruntime*")) == []
