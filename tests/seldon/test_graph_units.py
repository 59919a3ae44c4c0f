"""The units of an inference graph under Seldon's own command, called as its executor calls them."""

import base64
import json

import jsonschema
import pytest

from imageloop.model.predictor import Predictor
from seldon.delivery.clusters.kubernetes.pods import complete
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.settings import PodSettings
from seldon.delivery.graph_settings import Combiner, Router
from seldon.delivery.inference_graph import render_graph, settings_of
from seldon.delivery.manifest import dump
from seldon.delivery.render_manifest import render
from tests.seldon.delivery.clusters.kubernetes.test_pods import EVERYTHING, IMAGE, unknown

pytestmark = pytest.mark.xdist_group("service")
GRAPHS = [Combiner(with_versions=("1",)), Router(with_versions=("1",), method="epsilon_greedy", epsilon=0.25)]


def rendered(predictor_spec, settings):
    return render_graph(settings, [predictor_spec(version, image=IMAGE) for version in ("2", "1")])


def unit(start_service, package, predictor, **environment):
    """A unit as the operator starts it: the container's own command, its parameters, its name."""
    container = predictor.component_specs[0].spec.containers[0]
    command = [str(serving_python().with_name(container.command[0])), *container.command[1:]]
    parameters = json.dumps([dump(part) for part in predictor.graph.parameters])
    given = {"PREDICTIVE_UNIT_PARAMETERS": parameters, "PREDICTIVE_UNIT_ID": predictor.graph.name, "GRPC_WORKERS": "0"}
    return start_service(command, package, **given, **environment)


@pytest.fixture(scope="module")
def leaning(make_package):
    return make_package(bias=60.0)


@pytest.fixture(scope="module")
def children(start_service, service, leaning):
    command = [str(serving_python()), "-m", "seldon.launcher"]
    return [service, start_service(command, leaning)]


def post(call, service, path, message):
    code, body, _ = call(f"{service.url}{path}", json.dumps(message).encode(), "application/json")
    return code, json.loads(body)


def test_the_combiner_answers_with_the_mean(start_service, predictor_spec, package, leaning, children, colours, call):
    combiner = unit(start_service, package, rendered(predictor_spec, GRAPHS[0]))
    image = {"binData": base64.b64encode(colours.blue).decode()}
    answers = [post(call, child, "/predict", image)[1] for child in children]
    code, mean = post(call, combiner, "/aggregate", {"seldonMessages": answers})
    assert code == 200
    alone = [Predictor.unsigned(folder, threads=1).predict([colours.blue]).probabilities[0] for folder in (package, leaning)]
    assert mean["data"]["ndarray"][0] == pytest.approx(list(sum(alone) / 2), abs=1e-5)
    assert mean["meta"]["puid"] == answers[0]["meta"]["puid"]  # so feedback reaches a record
    assert mean["meta"]["tags"]["version"] == "2+1"
    two = {"jsonData": {"images": [image["binData"], base64.b64encode(b"no image").decode()]}}
    several = [post(call, child, "/predict", two)[1] for child in children]
    code, mean = post(call, combiner, "/aggregate", {"seldonMessages": several})
    assert (code, mean["data"]["ndarray"][1], mean["meta"]["tags"]["labels"][1]) == (200, [None, None], None)
    code, _ = post(call, combiner, "/aggregate", {"seldonMessages": [answers[0], several[0]]})
    assert code == 500


def test_the_router_learns_from_rewards(start_service, predictor_spec, package, call, eventually):
    router = unit(start_service, package, rendered(predictor_spec, GRAPHS[1]))

    def chosen() -> int:
        code, message = post(call, router, "/route", {"data": {"ndarray": [[1]]}})
        assert code == 200
        return message["data"]["ndarray"][0][0]

    for child in (0, 1):
        for _ in range(20):
            meta = {"routing": {"router": child}}
            feedback = {"request": {"data": {"ndarray": [[1]]}}, "response": {"meta": meta}, "reward": float(child)}
            assert post(call, router, "/send-feedback", feedback)[0] == 200
    assert eventually(lambda: sum(chosen() for _ in range(40)) > 25, seconds=20)


@pytest.mark.parametrize("settings", GRAPHS, ids=["combiner", "router"])
@pytest.mark.parametrize("pods", [PodSettings(), EVERYTHING], ids=["least", "everything"])
def test_the_operator_takes_a_graph(predictor_spec, settings, pods, crd):
    manifest = dump(render("pets", "site", [complete(rendered(predictor_spec, settings), pods, deployment="site/pets")]))
    jsonschema.Draft202012Validator(crd).validate(manifest)
    assert list(unknown(manifest["spec"], crd["properties"]["spec"])) == []
    (predictor,) = manifest["spec"]["predictors"]
    graph, pod = predictor["graph"], predictor["componentSpecs"][0]["spec"]
    units = [graph["name"], *(child["name"] for child in graph["children"])]
    served = [container for container in pod["containers"] if container["name"] != "collector"]
    assert [container["name"] for container in served] == units == [settings.kind, "v2", "v1"]
    assert [container["ports"][0]["containerPort"] for container in served] == [9000, 9001, 9002]
    assert {mount["subPath"] for container in served for mount in container["volumeMounts"] if mount["name"] == "scratch"} == set(
        units
    )
    assert ("svcOrchSpec" in predictor) == (settings.kind == "router")
    assert "seldon.io/no-engine" not in predictor["annotations"]
    assert all(child["modelUri"] and child["type"] == "MODEL" for child in graph["children"])
    assert settings_of(rendered(predictor_spec, settings).graph) == settings
