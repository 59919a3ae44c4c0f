"""Predictors of several versions: a COMBINER or a ROUTER of Seldon's, and a MODEL for each version.

A cluster with Seldon's operator runs a container for each unit, and Seldon's executor between them. On one machine each replica is
one process that holds all versions (seldon.service.served_graph), so that images are decoded once.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imageloop.errors import SettingsError
from imageloop.model.served_versions import CHOICE, MEAN
from seldon.delivery.graph_settings import Combiner, GraphSettings, Router
from seldon.delivery.manifest import ComponentSpec, Container, Graph, Parameter, PodSpec, PredictorSpec, dump
from seldon.service.serving_protocols import PORT

UNITS = {"COMBINER": "MeanCombiner", "ROUTER": "BanditRouter"}  # of seldon.graph_units
SIGNS = {"COMBINER": MEAN, "ROUTER": CHOICE}
DEFAULTS = {"model_version": "0", "method": "thompson", "epsilon": "0.1"}  # of a manifest that was written by hand
WORDS = {"COMBINER": "-with-", "ROUTER": "-or-"}  # in names of predictors


def render_graph(settings: GraphSettings, models: Sequence[PredictorSpec]) -> PredictorSpec:
    """The predictor of all versions; `models`: that of each, the first one is `version` of the deployment.

    Raises: SettingsError for the same version twice.
    """
    first, versions = models[0], [model.version for model in models]
    if len(set(versions)) < len(versions):
        raise SettingsError(f"graph.with_versions: expected versions that differ, got {', '.join(versions)}")
    kind = "COMBINER" if isinstance(settings, Combiner) else "ROUTER"
    parameters = [Parameter(name="model_name", value=first.model_name)]
    parameters.append(Parameter(name="model_version", value=SIGNS[kind].join(versions)))
    if isinstance(settings, Router):
        parameters.append(Parameter(name="method", value=settings.method))
        parameters.append(Parameter(name="epsilon", value=str(settings.epsilon), type="FLOAT"))
    name = settings.kind
    children = tuple(model.graph.model_copy(update={"name": model.name}) for model in models)
    command = ("seldon-core-microservice", f"seldon.graph_units.{UNITS[kind]}", "--service-type", kind)
    containers = [_container(first, name, 0, command)]
    containers += [_container(model, model.name, number) for number, model in enumerate(models, 1)]
    return first.model_copy(
        update={
            "name": f"v{versions[0]}{WORDS[kind]}{'-'.join(versions[1:])}",
            "graph": Graph(name=name, type=kind, parameters=tuple(parameters), children=children),
            "component_specs": (ComponentSpec(spec=PodSpec(containers=tuple(containers))),),
            "annotations": {name: value for name, value in first.annotations.items() if name != "seldon.io/no-engine"},
        }
    )


def _container(model: PredictorSpec, name: str, number: int, command: tuple[str, ...] | None = None) -> Container:
    """The container of one unit, with a port of its own in the pod they share."""
    if model.container is None:
        raise ValueError(f"expected the container of '{model.name}', got none")
    port = {"name": "http", "containerPort": PORT + number, "protocol": "TCP"}
    return Container.model_validate(dump(model.container) | {"name": name, "command": command, "ports": [port]})


def process_parameters(graph: Graph) -> list[dict[str, Any]]:
    """What a replica on one machine gets as its unit's parameters: where it holds several versions, a parameter `graph` names them."""
    parameters = [{"name": part.name, "value": part.value, "type": part.type} for part in graph.parameters]
    if not graph.children:
        return [{"name": "model_uri", "value": graph.model_uri, "type": "STRING"}, *parameters]
    members = [{"version": _value(child, "model_version"), "model_uri": child.model_uri} for child in graph.children]
    whole: dict[str, Any] = {"kind": graph.type, "members": members}
    if graph.type == "ROUTER":
        whole |= {"method": _value(graph, "method"), "epsilon": float(_value(graph, "epsilon"))}
    identity = [one for one in parameters if one["name"] not in whole]
    return [*identity, {"name": "graph", "value": json.dumps(whole), "type": "STRING"}]


def settings_of(graph: Graph) -> GraphSettings | None:
    """The settings that a graph was rendered by; None for a single model."""
    if not graph.children:
        return None
    others = tuple(_value(child, "model_version") for child in graph.children[1:])
    if graph.type == "COMBINER":
        return Combiner(kind="combiner", with_versions=others)  # ZenML hands on what is set
    values = {"method": _value(graph, "method"), "epsilon": float(_value(graph, "epsilon"))}
    return Router.model_validate({"kind": "router", "with_versions": others} | values)


def impossible_graph(graph: Graph) -> str | None:
    """Why one machine cannot serve a graph; None for those that it can."""
    if not graph.children:
        return None if graph.type == "MODEL" else f"expected children of the {graph.type} '{graph.name}', got none"
    if graph.type not in UNITS:
        return f"expected a COMBINER or a ROUTER of models, got a {graph.type} with children; the cluster 'local' runs no Seldon engine"
    for child in graph.children:
        if child.children or child.type != "MODEL":
            return "expected a graph of one level, got more; the cluster 'local' runs no Seldon engine"
        if reason := impossible_uri(child.model_uri):
            return reason
    return None


def impossible_uri(uri: str | None) -> str | None:
    """Why a package cannot be read on this machine; None where it can."""
    if (uri or "").startswith("file://") and Path((uri or "").removeprefix("file://")).is_dir():
        return None
    return f"expected modelUri to name a folder on this machine (file:///...), got '{uri or ''}'"


def _value(unit: Graph, name: str) -> str:
    return next((part.value for part in unit.parameters if part.name == name), DEFAULTS[name])
