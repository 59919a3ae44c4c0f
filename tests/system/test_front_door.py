"""What the front door says before anything heavy is loaded."""

import subprocess
import sys

import pytest

from tests.system.conftest import PROJECT

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("prediction")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--set", "training.modle.kind=transfer"), "training.modle: there is no such key"),
        (("--set", "training.seed=many"), "training.seed"),
        (("--data", "/no/such/folder"), "got nothing at '/no/such/folder'"),
        (("--config", "/no/such/file.yaml"), "--config: expected a YAML file"),
        (("--set", "data.source.kind=kaggle", "--set", "data.source.handle=a/b"), "KAGGLE_API_TOKEN"),
    ],
)
def test_wrong_settings_end_with_code_2_and_load_nothing_heavy(site, arguments, words):
    _, err = site.run("train", *arguments, expect=2, fresh=True)

    assert err.startswith("error: ")
    assert words in err
    assert "Traceback" not in err


def test_checking_settings_loads_neither_torch_nor_zenml_nor_pandas():
    program = (
        "import sys; import cli.app; from imageloop.settings_files import load_settings; from steps.pipeline_settings import TrainSettings;"
        "from imageloop.data.sources.source_kinds import check; check(load_settings(TrainSettings, None, []).data);"
        "print(sorted({'torch', 'zenml', 'mlflow', 'pandas', 'numpy', 'dvc'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_libraries_print_nothing_while_the_interpreter_ends():
    """Triton's own check for leaks takes what stays for a fault, and every first training would end with it."""
    pytest.importorskip("triton._C.libtriton")
    program = (
        "import runpy, sys, triton._C.libtriton; sys.argv = ['run.py', '--help']; runpy.run_path('run.py', run_name='__main__')"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert "predict" in done.stdout
    assert done.stderr == ""


def test_help_names_every_command_and_option(site):
    out, _ = site.run("--help", fresh=True)

    assert {"train", "predict", "compare", "approve", "versions", "restore"} <= set(out.split())
    assert "KEY.PATH=VALUE" in site.run("train", "--help", fresh=True)[0]


def test_a_dead_zenml_server_is_noticed_first(site, tmp_path):
    (tmp_path / "config.yaml").write_text("store: {type: rest, url: 'http://127.0.0.1:9'}")

    _, err = site.run("train", expect=2, fresh=True, ZENML_CONFIG_PATH=str(tmp_path))

    assert "got no response" in err


def test_zenmls_default_stack_is_refused_with_the_command_to_type(site, tmp_path):
    _, err = site.run(
        "train", expect=2, fresh=True, ZENML_CONFIG_PATH=str(tmp_path / "fresh"), ZENML_REPOSITORY_PATH=str(tmp_path)
    )

    assert "make setup" in err


def test_a_result_that_cannot_be_written_is_no_success(site):
    command = f"{sys.executable} run.py versions --json > /dev/full"
    done = subprocess.run(command, shell=True, cwd=PROJECT, env=site.environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "the result could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_another_encoding_and_too_long_names_are_refused(site, tmp_path):
    (tmp_path / "latin.yaml").write_bytes("data: {source: {kind: generated}} # gr\xfcn".encode("latin-1"))

    _, said = site.run("train", "--config", str(tmp_path / "latin.yaml"), expect=2)
    assert "save it as UTF-8" in said
    _, said = site.run("train", "--data", "x" * 300, expect=2)
    assert "the images cannot be read" in said
