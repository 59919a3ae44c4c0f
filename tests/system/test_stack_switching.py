"""`zenml stack set kubernetes` compiles the same pipelines for a cluster; no cluster is touched."""

import json
from pathlib import Path

import pytest

from imageloop.adapters.git import commit_of

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("prediction")]

PROJECT = Path(__file__).parents[2]
START = """
import json, os, sys
sys.path.insert(0, os.environ["PROJECT"])
from zenml.client import Client
from zenml.config.compiler import Compiler
from zenml.config.pipeline_run_configuration import PipelineRunConfiguration

client = Client()
client.activate_stack(sys.argv[1])
def compiled(pipeline):
    return Compiler().compile(pipeline, client.active_stack, PipelineRunConfiguration())
"""
TRAINING = """
from steps.pipeline_settings import TrainSettings
from pipelines.training import training

settings = TrainSettings.model_validate(TrainSettings().model_dump())
training.prepare(settings.data, settings.training, settings.promotion, settings.feedback, 224, "fingerprint", "none")
snapshot = compiled(training)
print(json.dumps({
    "stack": client.active_stack.name,
    "steps": sorted(snapshot.step_configurations),
    "trackers": {n: s.config.experiment_tracker for n, s in snapshot.step_configurations.items() if s.config.experiment_tracker},
    "materializers": sorted({
        source.import_path for s in snapshot.step_configurations.values() for output in s.config.outputs.values()
        for source in output.materializer_source
    }),
    "docker": snapshot.pipeline_configuration.settings["docker"].model_dump(mode="json"),
    "parameters": snapshot.step_configurations["train"].config.parameters,
}))
"""
TUNING = """
from steps.pipeline_settings import TuneSettings
from pipelines.tuning import tuning

settings = TuneSettings.model_validate(TuneSettings().model_dump())
tuning.prepare(settings.data, settings.training, settings.promotion, settings.search, 224, "fingerprint")
snapshot = compiled(tuning)
print(json.dumps({
    "steps": sorted(snapshot.step_configurations),
    "trackers": sorted(n for n, s in snapshot.step_configurations.items() if s.config.experiment_tracker),
    "parameters": snapshot.step_configurations["search"].config.parameters,
    "trained_from": snapshot.step_configurations["train"].spec.inputs["settings"].output_name,
}))
"""
DEPLOYMENT = """
from pipelines.deployment import deployment
from seldon.delivery.deployer.active_deployer import active_deployer
from seldon.delivery.rollouts.settings import DeploySettings

settings = DeploySettings.model_validate({"strategy": {"kind": "canary", "steps": [5, 50]}})
deployment.prepare(DeploySettings.model_validate(settings.model_dump()))
snapshot = compiled(deployment)
print(json.dumps({
    "cluster": active_deployer().config.cluster.kind,
    "steps": sorted(snapshot.step_configurations),
    "parameters": snapshot.step_configurations["roll_out"].config.parameters,
}))
"""
MONITORING = """
from imageloop.monitoring.settings import MonitoringSettings
from pipelines.monitoring import monitoring

settings = MonitoringSettings.model_validate({"drift": {"window": 50}})
monitoring.prepare(MonitoringSettings.model_validate(settings.model_dump()), 20)
snapshot = compiled(monitoring)
print(json.dumps({
    "alerter": type(client.active_stack.alerter).__name__,
    "steps": sorted(snapshot.step_configurations),
    "parameters": snapshot.step_configurations["measure"].config.parameters,
}))
"""


BATCH_PREDICTION = """
from imageloop.batch_prediction.settings import BatchPredictionSettings
from pipelines.batch_prediction import batch_prediction

settings = BatchPredictionSettings(inputs=["s3://bucket/images"], output="s3://bucket/predictions")
batch_prediction.prepare(BatchPredictionSettings.model_validate(settings.model_dump()))
snapshot = compiled(batch_prediction)
print(json.dumps({
    "steps": sorted(snapshot.step_configurations),
    "parameters": snapshot.step_configurations["predict_images"].config.parameters,
}))
"""


@pytest.fixture
def compile_for(site, tmp_path):
    """Run a script with a stack active, and make `local` the active one again whatever comes of it."""

    def run(script: str, stack: str) -> dict:
        indented = "".join(f"    {line}\n" for line in script.strip().splitlines())
        (tmp_path / "compile.py").write_text(f"{START}try:\n{indented}finally:\n    client.activate_stack('local')\n")
        out, _ = site.run(stack, program=str(tmp_path / "compile.py"), PROJECT=str(PROJECT), ZENML_LOGGING_VERBOSITY="ERROR")
        return json.loads(out.splitlines()[-1])

    return run


@pytest.mark.parametrize("stack", ["local", "kubernetes"])
def test_the_deployment_pipeline_compiles_for_each_stack(compile_for, stack):
    compiled = compile_for(DEPLOYMENT, stack)

    assert compiled["steps"] == ["evaluate_served", "roll_out", "select"]
    assert compiled["cluster"] == stack
    assert compiled["parameters"]["settings"]["strategy"]["steps"] == [5, 50]


@pytest.mark.parametrize("stack", ["local", "kubernetes"])
def test_the_monitoring_pipeline_compiles_for_each_stack(compile_for, stack):
    compiled = compile_for(MONITORING, stack)

    assert compiled["steps"] == ["collect", "decide", "measure"]
    assert compiled["alerter"] == "Alerter"
    assert compiled["parameters"]["settings"]["drift"]["window"] == 50


@pytest.mark.parametrize("stack", ["local", "kubernetes"])
def test_the_training_pipeline_compiles_for_each_stack(compile_for, stack):
    compiled = compile_for(TRAINING, stack)

    assert len(compiled["steps"]) == 14
    assert compiled["trackers"] == {"train": True}  # whichever tracker the stack has
    assert compiled["stack"] == stack
    assert compiled["docker"]["parent_image_build_config"]["build_options"] == {
        "target": "pipeline",
        "build_args": {"COMMIT": commit_of(PROJECT)},
    }
    assert compiled["materializers"]
    assert not [name for name in compiled["materializers"] if "cloudpickle" in name]
    assert compiled["parameters"]["settings"]["model"]["kind"] == "transfer"


def test_the_tuning_pipeline_compiles_for_a_cluster_and_trains_what_the_search_found(compile_for):
    compiled = compile_for(TUNING, "kubernetes")

    assert len(compiled["steps"]) == 15
    assert compiled["trackers"] == ["search", "train"]
    assert compiled["parameters"]["settings"]["trials"] == 30
    assert compiled["trained_from"] == "tuned"


def test_the_batch_prediction_pipeline_compiles_for_a_cluster(compile_for):
    compiled = compile_for(BATCH_PREDICTION, "kubernetes")

    assert compiled["steps"] == ["list_images", "predict_images", "summarize"]
    assert compiled["parameters"]["settings"]["inputs"] == ["s3://bucket/images"]


def test_pods_and_a_store_of_this_machine_are_refused_before_anything_is_built(site, tmp_path):
    script = tmp_path / "stack.py"
    script.write_text("from zenml.client import Client; print(Client().get_stack('kubernetes').id)")
    stack = site.run(program=str(script))[0].split()[-1]

    for command in ("train", "monitor"):
        _, err = site.run(command, expect=2, ZENML_ACTIVE_STACK_ID=stack)

        assert "expected a ZenML server" in err
        assert "zenml login" in err
