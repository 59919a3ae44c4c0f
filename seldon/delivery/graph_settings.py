"""Settings of an inference graph: several versions of one model behind one predictor."""

from typing import Annotated, Literal

from pydantic import Field

from imageloop.settings import Settings

VersionText = Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^\d+$")]
Others = Annotated[tuple[VersionText, ...], Field(min_length=1, max_length=5)]


class Combiner(Settings):
    """Every version predicts every image, and the mean of their probabilities is the prediction."""

    kind: Literal["combiner"] = "combiner"
    with_versions: Others = Field(description="versions beside `version`")


class Router(Settings):
    """A bandit chooses one version for each request, and learns from feedback which is right more often."""

    kind: Literal["router"] = "router"
    with_versions: Others = Field(description="versions beside `version`")
    method: Literal["thompson", "epsilon_greedy"] = Field(
        "thompson",
        description="thompson: each version as often as it is the best by what is known; epsilon_greedy: the best so far",
    )
    epsilon: float = Field(0.1, ge=0, le=1, description="of epsilon_greedy: share of requests for which any version is chosen")


GraphSettings = Annotated[Combiner | Router, Field(discriminator="kind")]
