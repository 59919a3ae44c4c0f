"""What the page of operations shows of versions that serve together."""

from types import SimpleNamespace

from operations import served_versions, serving
from operations.served_versions import versions_shown
from seldon.delivery.graph_settings import Combiner
from seldon.delivery.inference_graph import render_graph
from seldon.delivery.render_manifest import render, render_predictor


def predictor(version: str):
    return render_predictor(version=version, model_name="flowers", model_uri="file:///p", replicas=1, traffic=100)


def test_versions_that_serve_together_have_a_row_of_their_own(monkeypatch):
    together = render_graph(Combiner(with_versions=("1",)), [predictor("3"), predictor("1")]).model_copy(update={"traffic": 100})
    manifest = render("flowers", "default", [together])
    local = SimpleNamespace(cluster=serving.LocalSettings(), namespace="default", name="flowers")
    monkeypatch.setattr(serving, "read_deployed", lambda *_: local)
    monkeypatch.setattr(serving, "active_stack_id", lambda: "1")
    monkeypatch.setattr(serving, "open_cluster", lambda *_: SimpleNamespace(belonging_to=lambda *_: [manifest]))
    traffic = serving.traffic_of("flowers")
    monkeypatch.setattr(
        "operations.approval.known_versions", lambda _name: SimpleNamespace(traffic=traffic, versions=[], statuses={})
    )

    assert traffic == {"3+1": 100, "3": 100, "1": 100}
    assert versions_shown("flowers") == [
        dict.fromkeys(served_versions.SHOWN) | {"version": "3+1", "status": "together", "traffic": 100, "reason": "versions 3, 1"}
    ]
