"""How a new version takes over, and what would stop it."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from imageloop.settings import Settings

Percent = Annotated[int, Field(ge=1, le=99)]
Seconds = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(coerce_numbers_to_str=True)]  # a value on the command line is read as YAML, a number as a number


class Watch(Settings):
    """How long a stage is watched: until the candidate has answered enough, at least and at most so long."""

    min_seconds: Seconds = 10.0
    max_seconds: Seconds = Field(600.0, description="with too few answers by then the verdict is no_data")
    min_requests: int = Field(200, ge=1, description="fewer tell 10 % of errors from none only by luck")
    on_no_data: Literal["advance", "rollback"] = Field("rollback", description="a version that nobody tried is not a good one")


class Rolling(Settings):
    """Replica by replica, after the smoke tests; nothing is watched."""

    kind: Literal["rolling"] = "rolling"


class Canary(Settings):
    """A growing share of the traffic, watched at every step."""

    kind: Literal["canary"] = "canary"
    steps: tuple[Percent, ...] = Field((10, 50), min_length=1, description="percent of the traffic")
    watch: Watch = Watch()

    @field_validator("steps")
    @classmethod
    def _grows(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)):
            raise ValueError("wanted steps that grow")
        return steps


class BlueGreen(Settings):
    """All traffic at once, with the old version ready to take it back while the new one is watched."""

    kind: Literal["blue_green"] = "blue_green"
    watch: Watch = Watch()


class Shadow(Settings):
    """The candidate gets a copy of the requests and answers nobody; its answers are compared, and it goes again."""

    kind: Literal["shadow"] = "shadow"
    percent: int = Field(100, ge=1, le=100)
    watch: Watch = Watch()
    then_promote: bool = Field(False, description="give it all traffic if its answers agree")


class AbTest(Settings):
    """Two versions side by side until feedback tells which is better; looking at any time is allowed."""

    kind: Literal["ab_test"] = "ab_test"
    percent: Percent = Field(50, description="of the traffic for the candidate")
    false_alarm_rate: float = Field(0.05, gt=0, lt=0.5, description="over the whole test, however often one looks")
    max_seconds: Seconds = 7 * 24 * 3600.0
    watch: Watch = Watch()


Strategy = Annotated[Rolling | Canary | BlueGreen | Shadow | AbTest, Field(discriminator="kind")]


class JudgeSettings(Settings):
    """When a candidate is rolled back."""

    max_error_increase: float = Field(
        0.01, ge=0, lt=1, description="share of failed answers, and of refused pictures, beyond the stable version's"
    )
    max_latency_ratio: float = Field(2.0, ge=1, description="of the 95th percentiles")
    min_latency_increase_ms: float = Field(20.0, ge=0, description="below this a ratio is noise")
    max_mix_distance: float = Field(0.25, gt=0, le=1, description="total variation between the answers' classes")
    min_agreement: float = Field(0.85, ge=0, le=1, description="of answers to the same pictures; two good models differ in some")
    max_accuracy_loss: float = Field(0.02, ge=0, lt=1, description="from feedback")
    confidence: float = Field(0.99, gt=0.5, lt=1, description="of the intervals that errors and accuracy are judged by")
    min_compared: int = Field(
        30,
        ge=5,
        description="answers of each below which latency, mix, agreement and accuracy are not judged, and no canary advances",
    )


class AfterwardsSettings(Settings):
    """What is sent through the gateway once a version serves."""

    data: str | None = Field(
        None,
        description="a folder of labelled pictures, or s3://... as fsspec knows it; by default the rollout ends with its verdicts",
    )
    min_accuracy: float = Field(0.7, ge=0, le=1, description="below it the run fails; the version before is one `rollback` away")
    clients: int = Field(4, ge=1, le=64)


class DeploySettings(Settings):
    """Everything that `python run.py deploy` goes by."""

    name: str = Field("imageloop", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)
    namespace: str = Field("default", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)
    model_name: str = "imageloop"
    version: str | None = Field(None, description="of the registry; by default the champion")
    replicas: int = Field(2, ge=1, le=64, description="two, so that one may be killed and costs no request")
    strategy: Strategy = Rolling()
    judge: JudgeSettings = JudgeSettings()
    afterwards: AfterwardsSettings = AfterwardsSettings()
    image: str | None = Field(None, description="of the service, by digest, where the cluster runs images")
    environment: dict[str, Text] = Field(default_factory=dict, description="of each replica")
    keep_refused_version: bool = Field(False, description="let a version that a gate refused be served")
