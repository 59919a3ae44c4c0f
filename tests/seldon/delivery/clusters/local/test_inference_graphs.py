"""Several versions behind one predictor on one machine: the mean of them, and one of them by a bandit."""

import json
from collections import Counter

import numpy as np
import pytest

from imageloop.model.predictor import Predictor
from seldon.delivery.clusters.cluster_protocol import NotBegunError, ReplicaEndedError
from seldon.delivery.graph_settings import Combiner, Router
from seldon.delivery.inference_graph import render_graph
from seldon.delivery.manifest import Manifest, dump
from seldon.delivery.render_manifest import render
from seldon.delivery.rollouts.candidate_package import CandidatePackage
from seldon.delivery.rollouts.rollout_runner import RolloutStoppedError, roll_out
from seldon.delivery.rollouts.settings import DeploySettings

pytestmark = pytest.mark.xdist_group("graphs")


@pytest.fixture(scope="module")
def leaning(make_package):
    """A package that says red whatever it sees."""
    return make_package(bias=60.0)


def graph_of(predictor_spec, settings, *packages, replicas=1):
    models = [predictor_spec(str(len(packages) - number), package) for number, package in enumerate(packages)]
    return render_graph(settings, models).model_copy(update={"replicas": replicas, "traffic": 100})


def predict(call, url, content, **headers):
    code, body, _ = call(f"{url}/predict", content, "image/png", **headers)
    assert code == 200, body
    return json.loads(body)


def test_a_combiner_predicts_the_mean(make_cluster, predictor_spec, package, leaning, colours, call):
    cluster = make_cluster()
    predictor = graph_of(predictor_spec, Combiner(with_versions=("1",)), package, leaning)
    assert (predictor.name, predictor.version) == ("v2-with-1", "2+1")
    cluster.apply(render("pets", "default", [predictor]))
    url = cluster.describe("default", "pets").url
    alone = [Predictor.unsigned(folder, threads=1).predict([colours.blue]).probabilities[0] for folder in (package, leaning)]
    found = predict(call, url, colours.blue)
    assert found["probabilities"] == pytest.approx(dict(zip(("red", "blue"), sum(alone) / 2, strict=True)), abs=1e-5)
    assert found["model"]["version"] == "2+1"
    code, body, _ = call(f"{url}/explain", colours.blue, "image/png")
    assert (code, json.loads(body)["label"]) == (200, found["label"])
    labelled = json.dumps({"request_id": found["request_id"], "label": "blue"}).encode()
    assert call(f"{url}/feedback", labelled, "application/json")[0] == 200
    (status,) = cluster.describe("default", "pets").predictors
    assert status.version == "2+1"
    whole = cluster.get("default", "pets")
    assert Manifest.model_validate(dump(whole)) == whole
    cluster.stop()


def test_a_router_learns_which_version_is_right(make_cluster, predictor_spec, package, leaning, colours, call, eventually):
    """By labels that reach either replica; both predict by what both learnt."""
    cluster = make_cluster()
    predictor = graph_of(predictor_spec, Router(with_versions=("1",)), package, leaning, replicas=2)
    cluster.apply(render("pets", "default", [predictor]))
    url, served = cluster.describe("default", "pets").url, Counter()
    for number in range(150):
        content, label = (colours.red, "red") if number % 2 else (colours.blue, "blue")
        found = predict(call, url, content)
        served[found["model"]["version"]] += 1
        assert found["model"]["predictor"] == "v2-or-1"
        body = json.dumps({"request_id": found["request_id"], "label": label}).encode()
        assert call(f"{url}/feedback", body, "application/json")[0] == 200
    assert set(served) == {"1", "2"}
    # from here on what both learnt is read: nearly all requests go to the version that is right
    assert eventually(
        lambda: Counter(predict(call, url, colours.red)["model"]["version"] for _ in range(20))["2"] >= 16, seconds=20
    ), served
    texts = [file.read_text() for file in cluster.records("default", "pets").rglob("*.jsonl")]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    assert {line["model_version"] for line in lines if line["kind"] == "prediction"} == {"1", "2"}
    exposition = "".join(cluster.exposition("default", "pets", "v2-or-1").values())
    assert 'imageloop_routed_feedback_total{predictor="v2-or-1",version="1"}' in exposition
    cluster.stop()


def test_a_combination_that_is_worse_is_rolled_back_and_no_version_is_at_fault(cluster, predictor_spec, package, leaning):
    """Its smoke-test images need not be predicted as the package says; its test images are what it is judged by."""
    settings = DeploySettings(name="pets", replicas=1)
    assert (
        roll_out(cluster, settings, predictor_spec("2", package, traffic=0), package=CandidatePackage(package)).outcome
        == "promoted"
    )
    worse = graph_of(predictor_spec, Combiner(with_versions=("1",)), package, leaning)
    with pytest.raises(RolloutStoppedError, match="the version keeps its title") as caught:
        roll_out(cluster, settings, worse, package=CandidatePackage(package, of_several=True))
    assert (caught.value.rollout.version, caught.value.rollout.before, caught.value.rollout.unfit) == ("2+1", "2", False)
    same = graph_of(predictor_spec, Combiner(with_versions=("1",)), package, package)
    assert roll_out(cluster, settings, same, package=CandidatePackage(package, of_several=True)).outcome == "promoted"
    assert [part.version for part in cluster.get("default", "pets").history] == ["2", "2+1"]


def test_what_cannot_serve_together_is_refused(cluster, predictor_spec, package, make_package, tmp_path):
    settings = Combiner(with_versions=("1",))
    good = graph_of(predictor_spec, settings, package, package)
    nested = good.graph.model_copy(update={"children": (good.graph, good.graph)})
    gone = good.graph.model_copy(
        update={
            "children": (
                good.graph.children[0],
                good.graph.children[0].model_copy(update={"model_uri": f"file://{tmp_path}/gone"}),
            )
        }
    )
    lonely = good.graph.model_copy(update={"children": ()})
    for graph, message in ((nested, "one level"), (gone, "modelUri"), (lonely, "expected children")):
        with pytest.raises(NotBegunError, match=message):
            cluster.apply(render("pets", "default", [good.model_copy(update={"graph": graph})]))
    other_classes = make_package(class_names=("blue", "red"))
    with pytest.raises(ReplicaEndedError, match="expected versions of the same classes"):
        cluster.apply(render("pets", "default", [graph_of(predictor_spec, settings, package, other_classes)]))


@pytest.mark.parametrize("settings", [Combiner(with_versions=("1",)), Router(with_versions=("1",))], ids=["combiner", "router"])
def test_versions_that_see_images_of_another_size(cluster, predictor_spec, package, make_package, colours, call, settings):
    larger = make_package(side_of_model=64, side=64)
    cluster.apply(render("pets", "default", [graph_of(predictor_spec, settings, package, larger)]))
    url = cluster.describe("default", "pets").url
    pixels = json.dumps({"data": {"ndarray": np.full((64, 64, 3), (200, 60, 40)).tolist()}}).encode()
    for _ in range(10):
        assert predict(call, url, colours.red)["label"] == "red"
        code, body, _ = call(f"{url}/api/v1.0/predictions", pixels, "application/json")
        assert (code, json.loads(body)["meta"]["tags"]["labels"]) == (200, ["red"])
