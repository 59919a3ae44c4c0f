import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from imageloop.adapters.zenml_stack_files import StackFile, fill_in, read_stack
from imageloop.errors import SettingsError

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", sorted((PROJECT / "stacks").glob("*.yaml")), ids=lambda file: file.name)
def test_every_stack_file_is_valid_without_any_variable(file):
    stack = read_stack(file, {"IMAGELOOP_HOME": "/home"})

    assert stack.name == file.stem
    assert {"orchestrator", "artifact_store", "experiment_tracker"} <= stack.components.keys()


def test_each_delivery_environment_has_a_stack_and_components_of_its_own():
    names = set()
    for place in ("staging", "production"):
        stack = read_stack(PROJECT / "stacks" / "kubernetes.yaml", {"IMAGELOOP_STACK": f"kubernetes-{place}"})
        names |= {stack.name, *(f"{kind} {part.name}" for kind, part in stack.components.items())}

    assert len(names) == 2 * (1 + len(stack.components))


def test_variables_are_filled_in_and_defaults_may_name_others():
    text = "${A}/${B:-${A}/x}/${C:-}"

    assert fill_in(text, {"A": "a"}) == "a/a/x/"
    assert fill_in(text, {"A": "a", "B": "b", "C": "c"}) == "a/b/c"
    assert fill_in(text, {"A": "a${C}", "B": "${B}", "C": "1"}) == "a${C}/${B}/1"
    with pytest.raises(SettingsError, match="variable A"):
        fill_in(text, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "got: while parsing"),
        ("nmae: a\ncomponents: {}\n", "nmae: Extra inputs are not permitted"),
        (None, "No such file"),
    ],
)
def test_an_invalid_stack_is_refused_with_its_file(tmp_path, text, words):
    file = tmp_path / "own.yaml"
    if text is not None:
        file.write_text(text)

    with pytest.raises(SettingsError, match=words) as refused:
        read_stack(file, {})

    assert str(file) in str(refused.value)


def test_a_value_of_the_environment_is_a_string_whatever_yaml_makes_of_it(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        "name: own\ncomponents:\n  artifact_store:\n    name: own\n    flavor: local\n    config:\n"
        '      path: ${HOME_OF_IT}/a\n      password: "${PASSWORD}"\n      port: ${PORT:-8080}\n      digits: "${DIGITS}"\n'
    )

    found = read_stack(file, {"HOME_OF_IT": "/my #1 site", "PASSWORD": 'a\\tb"c: {', "DIGITS": "12"})

    assert found.components["artifact_store"].config == {
        "path": "/my #1 site/a",
        "password": 'a\\tb"c: {',
        "port": 8080,
        "digits": "12",
    }


def test_no_step_or_pipeline_asks_which_stack_is_active():
    core = [f"imageloop/{room}" for room in ("data", "embeddings", "model", "monitoring", "promotion", "training")]
    for room in ("steps", "pipelines", "materializers", *core):
        for file in (PROJECT / room).rglob("*.py"):
            assert "active_stack" not in file.read_text(), file


SCRIPT = """
import json, sys, yaml
from pathlib import Path
from zenml.client import Client
from imageloop.adapters.zenml_stack_files import StackFile
from stacks.apply import apply
client = Client()
client.create_stack_component("imageloop-other", "local", "artifact_store", {"path": "/tmp/elsewhere"})
seen = []
for file in sys.argv[1:]:
    apply(StackFile.model_validate(yaml.safe_load(Path(file).read_text())), client)
    apply(StackFile.model_validate(yaml.safe_load(Path(file).read_text())), client)
    stacks = {s.name: {k.value: [c.name for c in v] for k, v in s.components.items()} for s in client.list_stacks()}
    parts = {c.name: c.configuration for c in client.list_stack_components(size=100)}
    seen.append([stacks, parts])
print(json.dumps(seen))
"""


@pytest.mark.system
def test_a_changed_file_updates_and_a_removed_key_is_removed_and_nothing_else_is_touched(tmp_path):
    import json

    first = {
        "name": "site",
        "components": {
            "orchestrator": {"name": "imageloop", "flavor": "local"},
            "artifact_store": {"name": "imageloop", "flavor": "local", "config": {"path": "/tmp/a"}},
            "experiment_tracker": {
                "name": "imageloop-t",
                "flavor": "mlflow",
                "config": {"tracking_uri": "sqlite:///a.db", "experiment_name": "a"},
            },
        },
    }
    second = yaml.safe_load(yaml.safe_dump(first))
    second["components"]["artifact_store"]["config"]["path"] = "/tmp/b"
    del second["components"]["experiment_tracker"]["config"]["experiment_name"]
    third = yaml.safe_load(yaml.safe_dump(second))
    del third["components"]["experiment_tracker"]
    files = []
    for number, content in enumerate((first, second, third)):
        StackFile.model_validate(content)
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump(content))
    environment = os.environ | {
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"), "ZENML_ANALYTICS_OPT_IN": "false", "ZENML_LOGGING_VERBOSITY": "ERROR",
        "PYTHONPATH": str(PROJECT),
    }  # fmt: skip

    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", *files],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    a, b, c = json.loads(done.stdout.splitlines()[-1])

    assert a[1]["imageloop-t"] == {"tracking_uri": "sqlite:///a.db", "experiment_name": "a"}
    assert b[1]["imageloop-t"] == {"tracking_uri": "sqlite:///a.db"}
    assert b[0]["site"]["experiment_tracker"] == ["imageloop-t"]
    assert "experiment_tracker" not in c[0]["site"]
    assert {parts["imageloop-other"]["path"] for _, parts in (a, b, c)} == {"/tmp/elsewhere"}


@pytest.mark.system
def test_an_applied_stack_is_known_and_one_replaced_by_another_folder_is_detected(tmp_path):
    def environment_of(folder: str) -> dict[str, str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        return os.environ | {
            "ZENML_CONFIG_PATH": str(tmp_path / "zenml"), "ZENML_ANALYTICS_OPT_IN": "false", "IMAGELOOP_HOME": str(tmp_path / folder),
            "ZENML_REPOSITORY_PATH": str(tmp_path / folder), "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),
        }  # fmt: skip

    def call(folder: str, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = environment_of(folder) | more
        return subprocess.run(
            [sys.executable, *command], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
        )

    assert call("one", "stacks/apply.py", "--applied").returncode == 1
    done = call("one", "stacks/apply.py", "--activate", "local")
    assert done.returncode == 0, done.stderr
    assert call("one", "stacks/apply.py", "--applied").returncode == 0
    assert call("one", "stacks/apply.py", "--applied", IMAGELOOP_GATEWAY_PORT="8081").returncode == 1

    assert call("two", "stacks/apply.py", "--activate", "local").returncode == 0
    wrong = call("two", "stacks/apply.py", "--activate", "local", "stacks/kubernetes.yaml")
    assert "expected a stack of the files that are applied (kubernetes), got 'local'" in wrong.stderr
    assert call("one", "stacks/apply.py", "--applied").returncode == 1
    refused = call("one", "run.py", "train")
    assert refused.returncode == 2
    assert f"got '{tmp_path / 'two'}/.imageloop/artifacts': another folder was set up since" in refused.stderr
    assert call("one", "stacks/apply.py", "--activate", "local", IMAGELOOP_HOME=f"{tmp_path / 'one'}/").returncode == 0
    assert call("one", "run.py", "versions").returncode == 0

    assert call("one", "stacks/apply.py", "--activate", "local").returncode == 0
    assert call("one", "stacks/apply.py", "--applied").returncode == 0
    assert call("one", "stacks/apply.py", "--downgrade").returncode == 0
    assert call("one", "stacks/apply.py", "--applied").returncode == 1


SECRETS = """
import json, os
from pathlib import Path
from zenml.client import Client
from zenml.enums import StackComponentType
from imageloop.adapters.zenml_stack_files import read_stack
from stacks.apply import apply
client, seen = Client(), []
for password in ("first", None, "second"):
    environment = {"IMAGELOOP_HOME": "/home"} | ({"IMAGELOOP_MLFLOW_PASSWORD": password} if password else {})
    apply(read_stack(Path("stacks/compose.yaml"), environment), client)
    (tracker,) = client.list_stack_components(type="experiment_tracker", name="imageloop-compose").items
    seen.append([tracker.configuration["tracking_password"], client.get_secret("imageloop_mlflow_compose").secret_values["password"]])
from zenml.stack import StackComponent
seen.append(StackComponent.from_model(tracker).config.tracking_password)
print(json.dumps(seen))
"""


@pytest.mark.system
def test_a_password_is_in_a_secret_and_in_no_component(tmp_path):
    import json

    environment = os.environ | {
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"), "ZENML_REPOSITORY_PATH": str(tmp_path), "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "ERROR", "PYTHONPATH": str(PROJECT), "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),
    }  # fmt: skip
    flavors = "from zenml.client import Client\nfrom stacks.apply import FLAVORS, _register_flavors\n_register_flavors(FLAVORS, Client())\n"
    (tmp_path / "script.py").write_text(flavors + SECRETS)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *stored, resolved = json.loads(done.stdout.splitlines()[-1])

    assert stored == [["{{imageloop_mlflow_compose.password}}", password] for password in ("first", "first", "second")]
    assert resolved == "second"


STEPS = """
import json, os
from pathlib import Path
from zenml.client import Client
from zenml.stack import Stack
from imageloop.adapters.step_resources import step_options
from imageloop.adapters.zenml_stack_files import read_stack
from operations.training import STEP_NAMES
from pipelines.training import training
from stacks.apply import FLAVORS, _register_flavors, apply
from steps.pipeline_settings import TrainSettings
client, seen = Client(), []
settings = TrainSettings()
_register_flavors(FLAVORS, client)
for gpus in ("2", "0"):
    apply(read_stack(Path("stacks/kubernetes.yaml"), {"IMAGELOOP_GPUS": gpus}), client)
    client.activate_stack("kubernetes")
    options = step_options(set(STEP_NAMES) - {"search"})
    run = training.with_options(steps=options)
    run.prepare(settings.data, settings.training, settings.promotion, settings.feedback, 224, "a", "b")
    snapshot, *_ = run._compile(steps=options)
    orchestrator = Stack.from_model(client.active_stack_model).orchestrator
    asked = {name: orchestrator.get_settings(step).pod_settings for name, step in snapshot.step_configurations.items()}
    seen.append({name: json.loads(one.model_dump_json()) for name, one in asked.items()})
print(json.dumps(seen))
"""


@pytest.mark.system
def test_a_step_asks_for_a_gpu_where_the_stack_file_says_so(tmp_path):
    import json

    environment = os.environ | {
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"), "ZENML_REPOSITORY_PATH": str(tmp_path), "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT), "PYTHONPATH": str(PROJECT), "IMAGELOOP_HOME": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STEPS], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with_gpus, without = json.loads(done.stdout.splitlines()[-1])

    train, usual = with_gpus["train"], with_gpus["ingest"]
    assert train["resources"]["limits"] == usual["resources"]["limits"] | {"nvidia.com/gpu": "2"}
    assert train["resources"]["requests"] == usual["resources"]["requests"]
    assert [one["key"] for one in train["tolerations"]] == ["nvidia.com/gpu"]
    for name in ("node_selectors", "env", "volumes", "labels"):
        assert train[name] == usual[name]
    assert {name for name, one in with_gpus.items() if one["tolerations"]} == {"train", "find_label_issues"}
    assert without["train"] == without["ingest"] == usual
