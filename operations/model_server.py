"""Deploy several models to the processes of one server."""

import logging
from dataclasses import dataclass

from imageloop.errors import ImageLoopError
from operations.deployment import DeploymentResult, deploy
from seldon.delivery.rollouts.settings import DeploySettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeployedModels:
    """The results of several models that were deployed to one server; none of those that another machine rolls out."""

    deployments: list[DeploymentResult]


def deploy_models(settings: DeploySettings, only: str | None = None) -> DeployedModels:
    """Deploy each of `settings.models`, or `only` one of them, one after the other; one that fails leaves the others as they are.

    Raises: SettingsError where `only` is none of them; ImageLoopError with the reason of each model that failed, once all were tried.
    """
    chosen = {name: settings.of_model(name) for name in (settings.models if only is None else (only,))}
    results, failed = [], {}
    for name, own in chosen.items():
        try:
            result = deploy(own)
        except ImageLoopError as error:
            logger.warning("%s: %s", name, error)
            failed[name] = str(error)
            continue
        if isinstance(result, DeploymentResult):
            logger.info("%s: version %s %s", name, result.version, result.outcome)
            results.append(result)
    if failed:
        reasons = "; ".join(f"'{name}': {reason}" for name, reason in failed.items())
        raise ImageLoopError(f"expected {len(chosen)} models to be deployed, got {len(failed)} that failed: {reasons}")
    return DeployedModels(results)
