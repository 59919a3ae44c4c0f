"""Which cluster is recorded as the last one, and what `--resume` deploys there."""

import json
from types import SimpleNamespace

import pytest

from imageloop.errors import ImageLoopError, SettingsError
from operations import deployment, model_server
from operations.deployment import DeploymentResult, _check_replicas, _remembered
from operations.model_server import deploy_models
from operations.resume_settings import settings_to_resume
from seldon.delivery.clusters.kubernetes import pods
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.clusters.settings import KubernetesSettings, LocalSettings, PodSettings
from seldon.delivery.deployer.last_deployment import Deployed, read_last, write_deployed
from seldon.delivery.graph_settings import Combiner, Router
from seldon.delivery.inference_graph import render_graph
from seldon.delivery.manifest import OngoingRollout
from seldon.delivery.model_server_settings import ServerSettings, shared
from seldon.delivery.render_manifest import render, render_predictor
from seldon.delivery.rollouts.settings import DeploySettings

STAGING = Deployed(cluster=LocalSettings(), namespace="staging", name="pets")
PRODUCTION = Deployed(cluster=LocalSettings(), namespace="production", name="pets")


@pytest.mark.parametrize(
    ("found", "remembered"), [(None, STAGING), ("a manifest", PRODUCTION), (ImageLoopError("gone"), PRODUCTION)]
)
def test_a_failure_that_left_nothing_is_forgotten(workspace, monkeypatch, found, remembered):
    class Cluster:
        def get(self, *_place):
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(deployment, "open_cluster", lambda *_: Cluster())
    write_deployed(workspace, STAGING)

    with pytest.raises(ImageLoopError, match="no image"), _remembered(PRODUCTION):
        raise ImageLoopError("no image")

    assert read_last(workspace) == remembered


def test_the_last_deployment_is_remembered(workspace):
    write_deployed(workspace, STAGING)

    with _remembered(PRODUCTION):
        assert read_last(workspace) == PRODUCTION

    assert read_last(workspace) == PRODUCTION


def test_the_last_deployment_names_no_setting_that_is_as_by_default(workspace):
    """An earlier version, which may read it after a downgrade, knows no newer setting."""
    local = Deployed(cluster=LocalSettings(gateway=GatewaySettings(port=9)), namespace="default", name="pets")
    write_deployed(workspace, local)

    content = json.loads((workspace.state / "deployed.json").read_text())
    assert content["cluster"] == {"kind": "local", "gateway": {"port": 9}}
    assert read_last(workspace) == local


IMAGE = f"registry.example/serve@sha256:{'0' * 64}"
GIVEN = {"IMAGELOOP_RETAIN_IMAGES_FOR": "age1abc", "GUNICORN_WORKERS": "4"}


def cluster_with(manifest, complete=lambda predictor, _deployment="": predictor) -> SimpleNamespace:
    return SimpleNamespace(get=lambda *_: manifest, complete=complete)


def in_pods(predictor, deployment="staging/pets"):
    return pods.complete(predictor, PodSettings(database_secret="records"), deployment=deployment)


def predictor_of(version: str, complete=lambda predictor, _deployment="": predictor):
    rendered = render_predictor(
        version=version, model_name="served", model_uri="s3://b/p", replicas=3, traffic=100, image=IMAGE, environment=GIVEN
    )
    return complete(rendered)


@pytest.fixture
def champion(monkeypatch):
    registry = SimpleNamespace(champion=lambda: "2", get=lambda _version: None)
    monkeypatch.setattr("imageloop.adapters.mlflow_registry.ModelRegistry", lambda _name: registry)


@pytest.mark.parametrize("complete", [lambda predictor, _deployment="": predictor, in_pods], ids=["local", "kubernetes"])
def test_the_served_version_is_resumed_with_its_settings(champion, complete):
    manifest = render("pets", "staging", [predictor_of("1", complete)])
    found = settings_to_resume(cluster_with(manifest, complete), LocalSettings(), STAGING)

    assert found == DeploySettings(
        namespace="staging", name="pets", model_name="served", version="1", replicas=3, image=IMAGE, environment=GIVEN,
        allow_refused_version=True,
    )  # fmt: skip


@pytest.mark.parametrize("graph", [Combiner(with_versions=("1",)), Router(with_versions=("1",), method="epsilon_greedy")])
def test_several_versions_that_served_together_are_resumed_together(champion, graph):
    served = render_graph(graph, [predictor_of("2"), predictor_of("1")])
    found = settings_to_resume(cluster_with(render("pets", "staging", [served])), LocalSettings(), STAGING)

    assert (found.version, found.graph, found.environment) == ("2", graph, GIVEN)
    assert DeploySettings(**found.model_dump(exclude_unset=True)) == found  # as ZenML hands them on


@pytest.mark.parametrize(("came_from", "version", "refused_too"), [("v1", "1", True), (None, "2", False)])
def test_after_an_interrupted_rollout_the_stable_version_resumes_or_the_first_is_retried(
    champion, came_from, version, refused_too
):
    parts = [predictor_of("1").model_copy(update={"traffic": 90}), predictor_of("2").model_copy(update={"traffic": 10})]
    ongoing = OngoingRollout(strategy="canary", from_predictor=came_from, to_predictor="v2")
    manifest = render("pets", "staging", parts if came_from else [predictor_of("2")])
    found = settings_to_resume(
        cluster_with(manifest.with_predictors(list(manifest.spec.predictors), ongoing)), LocalSettings(), STAGING
    )

    assert (found.version, found.allow_refused_version, found.name) == (version, refused_too, "pets")


def result_of(name: str) -> DeploymentResult:
    return DeploymentResult(
        name=name, namespace="default", version="1", before=None, outcome="promoted", reason="", url=f"http://h/{name}", exposure=0.0,
        smoke=[], verdicts=[], stack="local", run="r", tried=None, seconds=1.0,
    )  # fmt: skip


MODELS = {"Big_Cats": {"warm": True}, "dogs": {"version": 3}}
SHELF = DeploySettings.model_validate({"server": {"name": "shelf", "memory_mb": 300}, "models": MODELS, "replicas": 1})


def test_each_model_of_a_server_is_deployed_and_one_that_fails_leaves_the_others(monkeypatch):
    asked, found = [], []

    def deploy(settings):
        assert found[:2] == ["Big_Cats", "dogs"]  # all are looked up before anything is deployed
        asked.append(settings)
        if settings.model_name == "Big_Cats":
            raise ImageLoopError("it rolled back")
        return result_of(settings.name)

    monkeypatch.setattr(model_server, "deploy", deploy)
    monkeypatch.setattr(model_server, "open_stack", lambda: None)
    monkeypatch.setattr(model_server, "find_candidate", lambda name, _version, **_: found.append(name))
    with pytest.raises(ImageLoopError, match="1 of 2 models could not be deployed: 'Big_Cats': it rolled back"):
        deploy_models(SHELF)
    assert [(one.model_name, one.name, one.version, one.replicas, one.models) for one in asked] == [
        ("Big_Cats", "big-cats", None, 1, {}), ("dogs", "dogs", "3", 1, {}),
    ]  # fmt: skip
    assert [one.server for one in asked] == [ServerSettings(name="shelf", memory_mb=300, warm=warm) for warm in (True, False)]
    assert [one.name for one in deploy_models(SHELF, "dogs").deployments] == ["dogs"]
    with pytest.raises(SettingsError, match="expected one of the models Big_Cats, dogs, got 'birds'"):
        deploy_models(SHELF, "birds")
    with pytest.raises(SettingsError, match=r"version: expected it below one of the models \(models.NAME.version\)"):
        deploy_models(SHELF.model_copy(update={"version": "2"}))
    assert SHELF.model_copy(update={"version": "2"}).of_model("dogs").version == "2"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"server": None}, "expected a server for the models Big_Cats, dogs"),
        ({"server": {"name": "pets"}, "name": "pets"}, "expected a server with a name of its own"),
        ({"server": {"name": "big-cats"}}, "expected a server with a name of its own"),
        ({"environment": {"A": "1"}}, "expected no environment"),
        ({"max_replicas": 4}, "expected no max_replicas"),
    ],
)
def test_settings_that_models_of_one_server_cannot_have_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        DeploySettings.model_validate(SHELF.model_dump() | wrong)


@pytest.mark.parametrize("part", [{"server": {"name": "shelf"}}, {"graph": {"kind": "combiner", "with_versions": ["1"]}}])
def test_what_a_cluster_serves_in_another_way_is_refused_before_a_rollout(part):
    settings = DeploySettings.model_validate({"image": IMAGE, **part})
    with pytest.raises(SettingsError, match="expected the local cluster, got kubernetes"):
        _check_replicas(settings, KubernetesSettings(context="prod"))


def test_a_model_of_a_server_is_resumed_there(champion):
    served = shared(predictor_of("1").model_copy(update={"component_specs": ()}), SHELF.of_model("dogs").server)
    found = settings_to_resume(cluster_with(render("pets", "staging", [served])), LocalSettings(), STAGING)
    assert found.server == SHELF.of_model("dogs").server


def test_without_a_deployment_the_champion_serves_and_other_clusters_are_ignored(champion):
    assert settings_to_resume(cluster_with(None), LocalSettings(), STAGING) == DeploySettings()
    assert settings_to_resume(cluster_with(None), LocalSettings(), None) == DeploySettings()
    with pytest.raises(
        SettingsError, match=r"was deployed to \(local\), got the active stack with another cluster \(kubernetes prod\)"
    ):
        settings_to_resume(cluster_with(None), KubernetesSettings(context="prod"), STAGING)
