"""Run a program in a fork of a process that has imported the libraries already: importing them takes longer than most commands do.

Our own modules are imported by the program itself, and its end is that of an interpreter. What is killed in the middle, and what
must show what a first import does, is started as a process of its own instead.
"""

import atexit
import multiprocessing
import os
import runpy
import sys
import threading
from multiprocessing import forkserver
from pathlib import Path
from subprocess import TimeoutExpired
from tempfile import TemporaryDirectory
from unittest import mock

LIBRARIES = [
    "zenml.client", "zenml.zen_stores.sql_zen_store", "zenml.zen_stores.rest_zen_store", "zenml.pipelines", "zenml.orchestrators.local.local_orchestrator",
    "zenml.integrations.mlflow.experiment_trackers", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store", "torchvision.transforms.v2", "onnxruntime.quantization", "pandera", "matplotlib.figure", "sklearn.linear_model", "scipy.stats",
    "timm", "dvc.repo", "model_signing", "cleanlab.filter",
]  # fmt: skip
PROJECT = Path(__file__).parents[1]  # where the editable install points
COVERAGE_VARIABLES = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")


def run(
    program: Path, arguments: tuple[str, ...], *, folder: Path, environment: dict[str, str], timeout_seconds: float
) -> tuple[int, str, str]:
    """Run it in `folder`. Its exit code (negative: the signal that ended it), standard output and standard error.

    Raises: subprocess.TimeoutExpired, after ending it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    with mock.patch.dict(os.environ):
        for name in COVERAGE_VARIABLES:  # each program measures itself
            os.environ.pop(name, None)
        forkserver.ensure_running()
    with TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        process = context.Process(target=_become, args=(program, arguments, folder, environment, out, err))
        process.start()
        process.join(timeout_seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutExpired([str(program), *arguments], timeout_seconds, out.read_text(), err.read_text())
        return process.exitcode, out.read_text(), err.read_text()


def _become(program: Path, arguments: tuple[str, ...], folder: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    for place, file in ((1, out), (2, err)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, place)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    if any(name in environment for name in COVERAGE_VARIABLES):
        import coverage

        coverage.process_startup()
    from zenml.utils.source_utils import set_custom_source_root

    set_custom_source_root(environment.get("ZENML_CUSTOM_SOURCE_ROOT"))  # ZenML has read that when it was imported
    os.chdir(folder)
    sys.argv = [str(program), *arguments]
    libraries = [path for path in sys.path if Path(path).is_relative_to(sys.prefix) or Path(path).is_relative_to(sys.base_prefix)]
    sys.path[:] = [
        str(program.parent),
        *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)),
        *libraries,
        str(PROJECT),
    ]
    try:
        runpy.run_path(str(program), run_name="__main__")
    finally:
        threading._shutdown()  # type: ignore[attr-defined] # as an interpreter ends; multiprocessing leaves that out
        atexit._run_exitfuncs()
