"""Which flavors of ZenML's components the pipelines work with, and why not with others."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from imageloop.errors import SettingsError


@dataclass(frozen=True)
class Supported:
    """The flavors of one kind of component, with the module that a flavor needs beside the project's; `reason`: why no other works."""

    flavors: Mapping[str, str]
    reason: str
    needed: bool = True


KINDS = {
    "orchestrator": Supported(
        {"local": "", "kubernetes": "kubernetes"},
        "the workspace, the keys and the scratch folder of a step are given by the settings of these; with another, steps start without them",
    ),
    "artifact_store": Supported(
        {"local": "", "s3": "s3fs", "gcp": "gcsfs", "azure": "adlfs"}, "packages are fetched by Seldon from one of these"
    ),
    "experiment_tracker": Supported(
        {"mlflow": "mlflow"}, "versions, the champion and approvals are kept in MLflow's registry, which no other tracker has"
    ),
    "model_deployer": Supported(
        {"imageloop_seldon": ""}, "rollouts, smoke tests and rollback are this deployer's; another would replace the served model at once"
    ),
    "alerter": Supported({"imageloop_alerter": ""}, "alerts carry a reason and end by themselves, which this one sends", needed=False),
}  # fmt: skip


def refuse_unsupported(stack: str, flavors: Mapping[str, str]) -> None:
    """Check the flavors of a stack, by kind of component, before a run fails in its middle. Kinds that the pipelines do not use may be any.

    Raises: SettingsError with the reason.
    """
    for kind, supported in KINDS.items():
        names, flavor = " or ".join(f"'{name}'" for name in supported.flavors), flavors.get(kind)
        what = kind.replace("_", " ")
        if flavor is None:
            if supported.needed:
                raise SettingsError(f"expected a stack with a component {what} of the flavor {names}, got '{stack}' without one")
        elif flavor not in supported.flavors:
            raise SettingsError(
                f"expected the {what} of the stack '{stack}' to be of the flavor {names}, got '{flavor}': {supported.reason}"
            )
        elif (module := supported.flavors[flavor]) and find_spec(module) is None:
            raise SettingsError(
                f"expected the package {module} for the {what} '{flavor}' of the stack '{stack}', got none; run: uv pip install {module}"
            )
