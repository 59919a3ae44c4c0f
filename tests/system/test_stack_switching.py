"""`zenml stack set kubernetes` compiles the same pipelines for a cluster; no cluster is touched."""

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("prediction")]

PROJECT = Path(__file__).parents[2]
SCRIPT = """
import json, os, sys
sys.path.insert(0, os.environ["PROJECT"])
from zenml.client import Client
from zenml.config.compiler import Compiler
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from configs.models import TrainSettings
from pipelines.training import training

client = Client()
client.activate_stack(sys.argv[1])
settings = TrainSettings.model_validate(TrainSettings().model_dump())
training.prepare(settings.data, settings.training, settings.promotion, 224, "fingerprint")
snapshot = Compiler().compile(training, client.active_stack, PipelineRunConfiguration())
print(json.dumps({
    "stack": client.active_stack.name,
    "steps": sorted(snapshot.step_configurations),
    "trackers": {n: s.config.experiment_tracker for n, s in snapshot.step_configurations.items() if s.config.experiment_tracker},
    "docker": snapshot.pipeline_configuration.settings["docker"].model_dump(mode="json"),
    "parameters": snapshot.step_configurations["train"].config.parameters,
}))
client.activate_stack("local")
"""


DEPLOYMENT = """
import json, os, sys
sys.path.insert(0, os.environ["PROJECT"])
from zenml.client import Client
from zenml.config.compiler import Compiler
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
from pipelines.deployment import deployment
from seldon.deployer.choosing import active_deployer
from seldon.rollouts.settings import DeploySettings

client = Client()
client.activate_stack(sys.argv[1])
settings = DeploySettings.model_validate({"strategy": {"kind": "canary", "steps": [5, 50]}})
deployment.prepare(DeploySettings.model_validate(settings.model_dump()))
snapshot = Compiler().compile(deployment, client.active_stack, PipelineRunConfiguration())
print(json.dumps({
    "cluster": active_deployer().config.cluster.kind,
    "steps": sorted(snapshot.step_configurations),
    "parameters": snapshot.step_configurations["roll_out"].config.parameters,
}))
client.activate_stack("local")
"""


@pytest.mark.parametrize("stack", ["local", "kubernetes"])
def test_the_deployment_pipeline_compiles_for_each_stack(site, tmp_path, stack):
    (tmp_path / "compile.py").write_text(DEPLOYMENT)

    out, _ = site.run(stack, program=str(tmp_path / "compile.py"), PROJECT=str(PROJECT), ZENML_LOGGING_VERBOSITY="ERROR")

    compiled = json.loads(out.splitlines()[-1])
    assert compiled["steps"] == ["roll_out", "select"]
    assert compiled["cluster"] == stack
    assert compiled["parameters"]["settings"]["strategy"]["steps"] == [5, 50]


@pytest.mark.parametrize("stack", ["local", "kubernetes"])
def test_the_training_pipeline_compiles_for_each_stack(site, tmp_path, stack):
    (tmp_path / "compile.py").write_text(SCRIPT)

    out, _ = site.run(stack, program=str(tmp_path / "compile.py"), PROJECT=str(PROJECT), ZENML_LOGGING_VERBOSITY="ERROR")

    compiled = json.loads(out.splitlines()[-1])
    assert len(compiled["steps"]) == 13
    assert compiled["trackers"] == {"train": True}  # whichever tracker the stack has
    assert compiled["stack"] == stack
    assert compiled["docker"]["parent_image_build_config"]["build_options"] == {"target": "pipeline"}
    assert compiled["parameters"]["settings"]["model"]["kind"] == "transfer"
