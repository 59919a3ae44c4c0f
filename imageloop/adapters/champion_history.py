"""How many champions every model had, also a deleted one: part of the cache key of steps that depend on the champion."""

from collections import Counter
from typing import Any

from imageloop.adapters.champion_alias import CHAMPION, NUM_CHAMPIONS
from imageloop.adapters.mlflow_registry import A_PAGE, ModelRegistry
from imageloop.adapters.mlflow_tracking import connect
from imageloop.adapters.registered_version import RegisteredVersion


def later_champions() -> dict[str, str]:
    """The champion of every model and how many champions it had, as `version@count`, for the cache.

    A first champion that was promoted by its own run is left out. A champion whose alias was removed by hand has no version.
    """
    import mlflow
    from mlflow.utils import get_results_from_paginated_fn as every_page

    connect()
    client = mlflow.MlflowClient()
    models = every_page(lambda size, token: client.search_registered_models(max_results=size, page_token=token), A_PAGE)
    champions = {model.name: str(model.aliases[CHAMPION]) for model in models if CHAMPION in model.aliases}
    counts = _counts_of_champions(client)
    own = {name for name in champions if counts.get(name, 1) == 1 and _promoted_itself(ModelRegistry(name).versions())}
    return {name: f"{champions.get(name, '')}@{counts[name]}" for name in sorted((counts.keys() | champions.keys()) - own)}


def _counts_of_champions(client: Any) -> Counter[str]:
    """Count the champions that each model had, by the tags of experiments."""
    from mlflow.utils import get_results_from_paginated_fn as every_page

    counts: Counter[str] = Counter()
    for experiment in every_page(lambda size, token: client.search_experiments(max_results=size, page_token=token), A_PAGE):
        for tag, value in experiment.tags.items():
            if tag.startswith(NUM_CHAMPIONS):
                counts[tag.removeprefix(NUM_CHAMPIONS)] += int(value)
    return counts


def _promoted_itself(versions: list[RegisteredVersion]) -> bool:
    return len(versions) == 1 and versions[0].verdict == "advance" and not versions[0].approved
