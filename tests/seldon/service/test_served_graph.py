"""What one process makes of a graph of several versions."""

import json

import numpy as np
import pytest

from imageloop.errors import ImageLoopError, SettingsError
from imageloop.model.mean_predictor import MeanPredictor
from imageloop.model.predictor import Predictor
from seldon.service.compute_threads import ComputeThreads
from seldon.service.concurrency_limit import Admission
from seldon.service.prediction_handler import Shared
from seldon.service.prediction_requests import Identity, PredictionRequest
from seldon.service.served_graph import ServedGraph
from seldon.service.version_router import VersionRouter


@pytest.fixture
def shared():
    compute = ComputeThreads(1, 1)
    yield Shared(Admission(1), compute)
    compute.close()


def graph_of(kind, *packages, **options) -> ServedGraph:
    members = [{"version": str(number), "model_uri": f"file://{package}"} for number, package in enumerate(packages, 1)]
    return ServedGraph.of("", "", json.dumps({"kind": kind, "members": members, **options}))


def handler_of(graph, shared, folder, version="1+2"):
    return graph.handler(graph.open(), Identity("colours", version, "v1"), shared, folder)


def test_a_combiner_is_one_predictor(make_package, keys, shared, tmp_path, colours):
    graph = graph_of("COMBINER", make_package(), make_package(bias=60.0))
    assert graph.verify(keys / "signing.pub").side_pixels == 32
    handler = handler_of(graph, shared, tmp_path)
    assert isinstance(handler.predictor, MeanPredictor)
    (found,) = handler.submit(PredictionRequest([colours.blue], None, "http")).result()
    alone = [Predictor.unsigned(member.folder, threads=1).predict([colours.blue]).probabilities[0] for member in graph.members]
    assert list(found.probabilities.values()) == pytest.approx(list(sum(alone) / 2), abs=1e-6)
    assert handler.model_identity([found])["version"] == found.model_version == "1+2"


def test_a_router_learns_from_labels_and_names_the_version(make_package, shared, tmp_path, colours):
    graph = graph_of(
        "ROUTER", make_package(), make_package(bias=60.0, side_of_model=64, side=64), method="epsilon_greedy", epsilon=1.0
    )
    handler = handler_of(graph, shared, tmp_path, "1|2")
    assert isinstance(handler, VersionRouter)
    seen = set()
    for _ in range(40):
        (found,) = handler.submit(PredictionRequest([colours.blue], None, "http")).result()
        seen.add((found.model_version, found.label))
        assert handler.model_identity([found])["version"] == found.model_version
        handler.store_feedback(found.request_id, "blue", "http")
    assert seen == {("1", "blue"), ("2", "red")}
    handler._bandit._read_at = float("-inf")
    counts = handler._bandit.counts()
    assert sum(one.judged for one in counts.values()) == 40
    assert counts["1"].right == counts["1"].judged > 0 == counts["2"].right
    assert handler.model_identity()["version"] == "1|2"
    pixels = np.zeros((1, 64, 64, 3), np.uint8)  # as large as the largest model sees
    for _ in range(10):
        assert handler.submit(PredictionRequest(pixels, None, "http", stored=False)).result()[0].label in ("red", "blue")
    (tmp_path / "router-v1.db").write_bytes(b"no database" * 1000)  # a damaged file costs what was learnt, and no request
    handler._bandit._read_at = float("-inf")
    (found,) = handler.submit(PredictionRequest([colours.blue], None, "http")).result()
    handler.store_feedback(found.request_id, "blue", "http")


def test_what_does_not_fit_together_is_refused(make_package, keys):
    with pytest.raises(ImageLoopError, match="expected versions of the same classes"):
        graph_of("COMBINER", make_package(), make_package(class_names=("blue", "red"))).verify(keys / "signing.pub")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"kind": "ROUTER"}', '{"members": [{"version": "1"}]}', '{"kind": "ROUTER", "members": [], "x": 1}']
)
def test_what_is_no_graph_is_refused(text):
    with pytest.raises(SettingsError, match="expected the JSON of a combiner or router"):
        ServedGraph.of("", "", text)
