"""Render the SeldonDeployment of a model: its predictors, their containers, their weights."""

import re
from collections.abc import Mapping

from seldon.delivery.manifest import (
    CONTAINER,
    MANAGED_BY,
    ComponentSpec,
    Container,
    DeploymentSpec,
    EnvVar,
    Graph,
    HttpGet,
    Manifest,
    Metadata,
    Parameter,
    PodSpec,
    PredictorSpec,
    Probe,
)
from seldon.service.serving_protocols import SELDON, Protocol


def render_predictor(
    *, version: str, model_name: str, model_uri: str, replicas: int, traffic: int = 0, shadow: bool = False,
    image: str | None = None, environment: Mapping[str, str] | None = None, protocol: Protocol = SELDON,
) -> PredictorSpec:  # fmt: skip
    """The predictor of one version, named after it: to promote it, only weights change."""
    variables = protocol.environment(model_name, version) | dict(environment or {})
    env = tuple(EnvVar(name=name, value=value) for name, value in sorted(variables.items()))
    probe = Probe(http_get=HttpGet(path=protocol.ready_path))
    # The operator gives MLServer's model the container's name.
    name = CONTAINER if protocol is SELDON else _label(model_name)
    container = Container(name=name, image=image, env=env, readiness_probe=probe)
    return PredictorSpec(
        name=f"v{version}",
        replicas=replicas,
        traffic=traffic,
        shadow=shadow,
        graph=Graph(
            name=name,
            model_uri=model_uri,
            parameters=(Parameter(name="model_name", value=model_name), Parameter(name="model_version", value=version)),
        ),
        component_specs=(ComponentSpec(spec=PodSpec(containers=(container,))),),
        annotations={"seldon.io/no-engine": "true"},
    )


def _label(name: str) -> str:
    """A name as Kubernetes allows it. Source: RFC 1123."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-") or CONTAINER


def render(name: str, namespace: str, predictors: list[PredictorSpec], protocol: Protocol = SELDON) -> Manifest:
    """A deployment of `predictors`."""
    return Manifest(
        metadata=Metadata(name=name, namespace=namespace, labels=dict([MANAGED_BY])),
        spec=DeploymentSpec(predictors=tuple(predictors), protocol=protocol.name),
    )
