"""The SeldonDeployment, which every cluster takes: the fields of the CRD that we use, and how one is rendered.

Source: machinelearning.seldon.io/v1 of Seldon Core 1.17. Unknown fields of a hand-written manifest are preserved, so that
a cluster that does not support one can report it.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

CONTAINER = "classifier"
MANAGED_BY = ("app.kubernetes.io/managed-by", "imageloop")
ROLLOUT_ANNOTATION = "imageloop.ai/rollout"  # the state of a rollout, with which an interrupted one is resumed
LEAST_REPLICAS = "imageloop.ai/min-replicas"  # a label of a predictor that is scaled on this machine, as the next one
MOST_REPLICAS = "imageloop.ai/max-replicas"
HISTORY_ANNOTATION = "imageloop.ai/history"  # predictors that served all traffic, the last one last
MAX_HISTORY = 5


class Part(BaseModel):
    """A part of a manifest, in the CRD's own names."""

    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True, protected_namespaces=()
    )

    def others(self, path: str = "") -> list[str]:
        """The paths of fields that we do not know."""
        found = [f"{path}{name}" for name in self.model_extra or {}]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            parts = value if isinstance(value, list | tuple) else [value]
            for part in parts:
                if isinstance(part, Part):
                    found += part.others(f"{path}{field.alias or name}.")
        return found


class OngoingRollout(BaseModel):
    """A rollout that is under way or was interrupted: the names of its predictors. `from_predictor`: None for a first version."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    strategy: str = ""
    from_predictor: str | None = Field(None, alias="from")
    to_predictor: str = Field(alias="to")
    started_at: str = ""


class Parameter(Part):
    name: str
    value: str
    type: Literal["INT", "FLOAT", "DOUBLE", "STRING", "BOOL"] = "STRING"


class EnvVar(Part):
    name: str
    value: str | None = None
    value_from: dict[str, Any] | None = None


class Graph(Part):
    """A unit: a model, or what joins its children (seldon.delivery.inference_graph)."""

    name: str = CONTAINER
    type: str = "MODEL"
    model_uri: str | None = None
    env_secret_ref_name: str | None = None
    parameters: tuple[Parameter, ...] = ()
    children: "tuple[Graph, ...]" = ()
    implementation: str | None = None


class HttpGet(Part):
    path: str
    port: str | int = "http"


class Probe(Part):
    http_get: HttpGet | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 5
    timeout_seconds: int = 2
    failure_threshold: int = 3


class Container(Part):
    name: str = CONTAINER
    image: str | None = None
    command: tuple[str, ...] | None = None
    ports: tuple[dict[str, Any], ...] | None = None
    env: tuple[EnvVar, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    resources: dict[str, Any] | None = None


class PodSpec(Part):
    containers: tuple[Container, ...]


class ComponentSpec(Part):
    spec: PodSpec
    replicas: int | None = Field(None, ge=0)


class PredictorSpec(Part):
    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)
    replicas: int = Field(1, ge=0)
    traffic: int = Field(0, ge=0, le=100)
    shadow: bool = False
    graph: Graph
    component_specs: tuple[ComponentSpec, ...] = ()
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}

    @property
    def version(self) -> str:
        """Return the version of the model that the predictor serves; all of them where it serves several, as `4+3`."""
        return self._parameter("model_version", "0")

    @property
    def model_name(self) -> str:
        return self._parameter("model_name", "imageloop")

    @property
    def container(self) -> Container | None:
        return self.component_specs[0].spec.containers[0] if self.component_specs else None

    def _parameter(self, name: str, default: str) -> str:
        return next((part.value for part in self.graph.parameters if part.name == name), default)

    def is_same_process_as(self, other: "PredictorSpec") -> bool:
        """Whether a running replica of the one would do for the other: weights and numbers aside, nothing differs."""
        return self.process() == other.process()

    def process(self) -> str:
        return json.dumps(
            dump(self.model_copy(update={"replicas": 1, "traffic": 0, "shadow": False, "labels": {}})), sort_keys=True
        )


def scaled_between(predictor: PredictorSpec, least: int, most: int | None) -> PredictorSpec:
    """The predictor as one that an autoscaler of this machine keeps between two numbers of replicas; unchanged without the second."""
    if most is None:
        return predictor
    return predictor.model_copy(update={"labels": predictor.labels | {LEAST_REPLICAS: str(least), MOST_REPLICAS: str(most)}})


def bounds_of(predictor: PredictorSpec) -> tuple[int, int] | None:
    """The least and most replicas of a predictor that is scaled on this machine; None for all others."""
    if MOST_REPLICAS not in predictor.labels:
        return None
    return int(predictor.labels[LEAST_REPLICAS]), int(predictor.labels[MOST_REPLICAS])


class DeploymentSpec(Part):
    predictors: tuple[PredictorSpec, ...] = Field(min_length=1)
    name: str | None = None
    protocol: str | None = None
    annotations: dict[str, str] = {}

    @model_validator(mode="after")
    def _weights_make_sense(self) -> "DeploymentSpec":
        names = [predictor.name for predictor in self.predictors]
        if len(set(names)) < len(names):
            raise ValueError(f"expected predictors with names of their own, got {names}")
        serving = [predictor for predictor in self.predictors if not predictor.shadow]
        total = sum(predictor.traffic for predictor in serving)
        if len(serving) == 1 and total in (0, 100):
            return self
        if total != 100:
            raise ValueError(f"expected traffic that adds up to 100, got {total}")
        if any(predictor.traffic and not predictor.replicas for predictor in serving):
            raise ValueError("expected a replica for each predictor with traffic, got one without")
        return self


class Metadata(Part):
    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)
    namespace: str = "default"
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class Manifest(Part):
    """A SeldonDeployment."""

    api_version: str = "machinelearning.seldon.io/v1"
    kind: Literal["SeldonDeployment"] = "SeldonDeployment"
    metadata: Metadata
    spec: DeploymentSpec

    @property
    def key(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def weights(self) -> dict[str, int]:
        """The share of traffic of each predictor that serves, in percent."""
        serving = [predictor for predictor in self.spec.predictors if not predictor.shadow]
        if len(serving) == 1:
            return {serving[0].name: 100}
        return {predictor.name: predictor.traffic for predictor in serving}

    @property
    def history(self) -> list[PredictorSpec]:
        """Return the predictors that served all traffic, whole: a rollback needs nothing else."""
        return [
            PredictorSpec.model_validate(part) for part in json.loads(self.metadata.annotations.get(HISTORY_ANNOTATION, "[]"))
        ]

    @property
    def rollout(self) -> "OngoingRollout | None":
        """Return the state of a rollout that has not ended."""
        text = self.metadata.annotations.get(ROLLOUT_ANNOTATION)
        return OngoingRollout.model_validate_json(text) if text else None

    def predictor(self, name: str) -> PredictorSpec | None:
        return next((predictor for predictor in self.spec.predictors if predictor.name == name), None)

    def with_predictors(self, predictors: list[PredictorSpec], rollout: "OngoingRollout | None") -> "Manifest":
        """Return the deployment with other predictors, and the state of the rollout."""
        annotations = {name: value for name, value in self.metadata.annotations.items() if name != ROLLOUT_ANNOTATION}
        if rollout is not None:
            annotations[ROLLOUT_ANNOTATION] = rollout.model_dump_json(by_alias=True)
        metadata = self.metadata.model_copy(update={"annotations": annotations})
        spec = self.spec.model_copy(update={"predictors": tuple(predictors)})
        return Manifest.model_validate(dump(self.model_copy(update={"metadata": metadata, "spec": spec})))

    def with_history(self, history: list[PredictorSpec]) -> "Manifest":
        """Return the deployment with another history, cut to its newest entries."""
        text = json.dumps([dump(part) for part in history[-MAX_HISTORY:]], sort_keys=True)
        annotations = self.metadata.annotations | {HISTORY_ANNOTATION: text}
        return self.model_copy(update={"metadata": self.metadata.model_copy(update={"annotations": annotations})})


def dump(part: Part) -> dict[str, Any]:
    """Return a part with the CRD's field names, without unset fields."""
    return part.model_dump(mode="json", by_alias=True, exclude_none=True)
