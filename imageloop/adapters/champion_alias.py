"""The alias that names the champion of a model in the MLflow registry: read it, and move it."""

import logging
from typing import TYPE_CHECKING

from imageloop.errors import ImageLoopError

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)
CHAMPION = "champion"
NUM_CHAMPIONS = "num_champions."  # the tag of an experiment, and the name of the model
# No such model, no such alias, nothing that this user may read.
NO_CHAMPION = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "PERMISSION_DENIED")


def champion_of(name: str, client: "MlflowClient") -> str | None:
    """The version that the alias names, None where there is none yet.

    Raises: ImageLoopError where the registry does not respond.
    """
    import mlflow

    try:
        return str(client.get_model_version_by_alias(name, CHAMPION).version)
    except mlflow.MlflowException as error:
        if error.error_code not in NO_CHAMPION:
            raise ImageLoopError(
                f"expected the champion of '{name}' from the registry, got: {error.message}; try again"
            ) from error
        return None


def move_champion(name: str, version: str, run_id: str, client: "MlflowClient") -> None:
    """Let the alias name this version. `run_id`: of its training."""
    _count(name, run_id, client)
    client.set_registered_model_alias(name, CHAMPION, version)
    logger.info("version %s of '%s' is the champion now", version, name)


def _count(name: str, run_id: str, client: "MlflowClient") -> None:
    """Count the champions in a tag that outlives the model: a deleted model counts its versions from 1 again."""
    import mlflow

    tag = f"{NUM_CHAMPIONS}{name}"
    try:
        experiment = client.get_experiment(client.get_run(run_id).info.experiment_id)
        client.set_experiment_tag(experiment.experiment_id, tag, str(int(experiment.tags.get(tag, 0)) + 1))
    except mlflow.MlflowException as error:  # a version whose run was deleted for good
        logger.warning(
            "the champion of '%s' could not be counted, so a deleted model would be trained anew as a first one: %s",
            name,
            error.message,
        )
