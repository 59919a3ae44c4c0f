"""Settings of a rollout: its strategy, and when a candidate is rolled back."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from imageloop.errors import SettingsError
from imageloop.settings import Settings, deployment_of
from seldon.delivery.clusters.settings import ClusterSettings, KubernetesSettings
from seldon.delivery.graph_settings import GraphSettings
from seldon.delivery.model_server_settings import ModelEntry, ServerSettings

DEFAULT_NAMESPACE = "default"
Percent = Annotated[int, Field(ge=1, le=99)]
Seconds = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(coerce_numbers_to_str=True)]  # a value on the command line is read as YAML, a number as a number


class Watch(Settings):
    """How long a stage is observed: until the candidate has enough predictions, within these limits."""

    min_seconds: Seconds = 10.0
    max_seconds: Seconds = Field(600.0, description="with too few predictions by then the verdict is no_data")
    min_requests: int = Field(200, ge=1, description="with fewer, 10 % of errors cannot be distinguished from none")
    on_no_data: Literal["advance", "rollback"] = Field("rollback", description="a version without traffic has not proved itself")


class CopiesFirst(Settings):
    """Strategies that copy requests first to a candidate that test images do not show to be as good."""

    shadow_percent: int = Field(
        100,
        ge=0,
        le=100,
        description="of the requests are copied first to a candidate that test images do not show to be as good; 0: none",
    )


class Rolling(CopiesFirst):
    """Replica by replica, after the smoke tests and test images; copies of requests are observed, traffic is not."""

    kind: Literal["rolling"] = "rolling"
    watch: Watch = Watch(min_seconds=5, max_seconds=30, on_no_data="advance")


class Canary(CopiesFirst):
    """A growing share of the traffic, observed at every step."""

    kind: Literal["canary"] = "canary"
    steps: tuple[Percent, ...] = Field((10, 50), min_length=1, description="percent of the traffic")
    watch: Watch = Watch()

    @field_validator("steps")
    @classmethod
    def _grows(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)):
            raise ValueError("expected steps that grow")
        return steps


class BlueGreen(CopiesFirst):
    """All traffic at once; the previous version stays ready while the new one is observed."""

    kind: Literal["blue_green"] = "blue_green"
    watch: Watch = Watch()


class Shadow(Settings):
    """The candidate gets a copy of the requests, and its predictions are only compared; it is removed afterwards."""

    kind: Literal["shadow"] = "shadow"
    percent: int = Field(100, ge=1, le=100)
    watch: Watch = Watch()
    then_promote: bool = Field(False, description="give it all traffic if its predictions agree")


class AbTest(CopiesFirst):
    """Two versions side by side until feedback shows which is better, by a sequential test."""

    kind: Literal["ab_test"] = "ab_test"
    percent: Percent = Field(50, description="of the traffic for the candidate")
    false_alarm_rate: float = Field(0.05, gt=0, lt=0.5, description="over the whole test, however often it is evaluated")
    max_seconds: Seconds = 7 * 24 * 3600.0
    watch: Watch = Watch()


Copying = Rolling | Canary | BlueGreen | AbTest
Strategy = Annotated[Copying | Shadow, Field(discriminator="kind")]


class JudgeSettings(Settings):
    """When a candidate is rolled back."""

    max_error_increase: float = Field(
        0.01, ge=0, lt=1, description="share of failed requests, and of refused images, beyond the stable version's"
    )
    max_latency_ms: float = Field(250.0, ge=0, description="budget of the 95th percentile: within it no version is too slow")
    max_latency_ratio: float = Field(2.0, ge=1, description="ratio of the 95th percentiles, beyond the budget")
    min_latency_increase_ms: float = Field(20.0, ge=0, description="below this a ratio is noise")
    max_mix_distance: float = Field(
        0.25, gt=0, le=1, description="total variation between the predictions' classes; beyond it labels or test images decide"
    )
    min_agreement: float = Field(
        0.85, ge=0, le=1, description="share of equal predictions for the same images; below it labels or test images decide"
    )
    max_accuracy_loss: float = Field(
        0.01, ge=0, lt=1, description="a larger one, proved by labels or by the package's test images, ends the rollout"
    )
    accuracy_margin: float = Field(
        0.1, gt=0, le=1, description="a stage advances where labels, test images or agreement rule out a larger loss of accuracy"
    )
    confidence: float = Field(0.99, gt=0.5, lt=1, description="of the intervals by which errors and accuracy are compared")
    min_compared: int = Field(
        30,
        ge=5,
        description="with fewer predictions of each version, latency, mix, agreement and accuracy by labels are not compared, and no canary advances",
    )


class AfterwardsSettings(Settings):
    """A test of the deployed version with labelled images, sent through the gateway."""

    data: str | None = Field(
        None,
        description="a folder of labelled images, or an fsspec URL such as s3://...; by default there is no such test",
    )
    min_accuracy: float = Field(
        0.7, ge=0, le=1, description="below it the run fails, and `rollback` restores the previous version"
    )
    clients: int = Field(4, ge=1, le=64)


class DeploySettings(Settings):
    """The settings of `python run.py deploy`."""

    name: str = Field("imageloop", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)
    namespace: str = Field(
        DEFAULT_NAMESPACE, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40,
        description="on a cluster `default` means the namespace of the stack",
    )  # fmt: skip
    model_name: str = "imageloop"
    version: str | None = Field(None, description="version of the registry; by default the champion")
    replicas: int = Field(2, ge=1, le=64, description="two, so that a killed one costs no request")
    max_replicas: int | None = Field(
        None,
        ge=1,
        le=64,
        description="on this machine `watch` scales between `replicas` and this number by the requests in flight; on a cluster "
        "`pods.max_replicas` does",
    )
    graph: GraphSettings | None = Field(
        None, description="serve further versions beside `version`; by default one version serves"
    )
    server: ServerSettings | None = Field(
        None, description="on this machine: processes that several models share; by default each replica is a process of its own"
    )
    models: dict[str, ModelEntry] = Field(
        default_factory=dict,
        description="deploy each of these models, by name, to the same server; each has a deployment of its own",
    )
    strategy: Strategy = Rolling()
    judge: JudgeSettings = JudgeSettings()
    afterwards: AfterwardsSettings = AfterwardsSettings()
    image: str | None = Field(
        None, description="container image of the service, by digest, on a cluster; by default that of the stack"
    )
    environment: dict[str, Text] = Field(default_factory=dict, description="environment variables of each replica")
    allow_class_change: bool = Field(False, description="let a version with other classes than those that are served take over")
    allow_refused_version: bool = Field(False, description="let a version that a gate refused be served")

    @field_validator("models", mode="before")
    @classmethod
    def _may_be_empty(cls, models: Any) -> Any:
        """A model with nothing after its name is one with nothing set."""
        return {name: {} if entry is None else entry for name, entry in models.items()} if isinstance(models, dict) else models

    @model_validator(mode="after")
    def _may_grow(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(f"expected max_replicas of at least replicas ({self.replicas}), got {self.max_replicas}")
        if self.server is not None and (self.environment or self.max_replicas is not None):
            name = "environment" if self.environment else "max_replicas"
            raise ValueError(
                f"expected no {name} for a model that shares its processes with others (server), got one; unset either"
            )
        names = [self.name, *map(deployment_of, self.models)]
        if self.server is not None and self.server.name in names:
            raise ValueError(
                f"expected a server with a name of its own, got that of a deployment ({self.server.name}); rename it"
            )
        if self.models and self.server is None:
            raise ValueError(f"expected a server for the models {', '.join(self.models)}, got none; set server.name")
        return self

    def of_model(self, name: str) -> Self:
        """The settings of one of `models`.

        Raises: SettingsError where it is none of them.
        """
        entry, server = self.models.get(name), self.server
        if entry is None or server is None:
            raise SettingsError(f"expected one of the models {', '.join(self.models)}, got '{name}'; add it to models")
        own: dict[str, Any] = {"model_name": name, "name": deployment_of(name), "models": {}}
        own |= {"version": self.version or entry.version, "graph": self.graph or entry.graph}
        return self.model_validate(self.model_dump() | own | {"server": server.model_dump() | {"warm": entry.warm}})

    def on(self, cluster: ClusterSettings) -> Self:
        """These settings with the namespace and the container image of a stack's cluster, where they name none."""
        if not isinstance(cluster, KubernetesSettings):
            return self
        namespace = cluster.namespace if self.namespace == DEFAULT_NAMESPACE else self.namespace
        return self.model_copy(update={"namespace": namespace, "image": self.image or cluster.image})
