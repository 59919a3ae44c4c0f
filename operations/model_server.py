"""Deploy several models to the processes of one server."""

import logging
from dataclasses import dataclass

from imageloop.adapters.zenml_client import open_stack
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.lifecycle.choose_version import find_candidate
from operations.deployment import DeploymentResult, deploy
from seldon.delivery.rollouts.settings import DeploySettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeployedModels:
    """The results of several models that were deployed to one server; none of those that another machine rolls out."""

    deployments: list[DeploymentResult]


def deploy_models(settings: DeploySettings, only: str | None = None) -> DeployedModels:
    """Deploy each of `settings.models`, or `only` one of them, one after the other; one that fails leaves the others as they are.

    Raises: SettingsError where `only` is none of them, or settings are for one model alone; ImageLoopError where one has no version that may
    serve, before anything is deployed, or with the reason of each model that failed, once all were tried.
    """
    if only is None and (settings.version is not None or settings.graph is not None):
        name = "version" if settings.version is not None else "graph"
        raise SettingsError(
            f"{name}: expected it below one of the models (models.NAME.{name}), or with --model NAME, got it for all of them"
        )
    chosen = {name: settings.of_model(name) for name in (settings.models if only is None else (only,))}
    open_stack()
    for own in chosen.values():
        find_candidate(own.model_name, own.version, also_refused=own.allow_refused_version)
    results, failed = [], {}
    for name, own in chosen.items():
        try:
            result = deploy(own)
        except ImageLoopError as error:
            failed[name] = str(error)
            continue
        if isinstance(result, DeploymentResult):
            logger.info("%s: version %s %s", name, result.version, result.outcome)
            results.append(result)
    if failed:
        reasons = "; ".join(f"'{name}': {reason}" for name, reason in failed.items())
        raise ImageLoopError(f"{len(failed)} of {len(chosen)} models could not be deployed: {reasons}")
    return DeployedModels(results)
