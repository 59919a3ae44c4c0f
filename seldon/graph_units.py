"""The units of an inference graph that are no model, for Seldon's executor on a cluster:

    seldon-core-microservice seldon.graph_units.MeanCombiner --service-type COMBINER
    seldon-core-microservice seldon.graph_units.BanditRouter --service-type ROUTER

On one machine no executor runs: there a replica does the same in one process (seldon.service.served_graph).
"""

from collections.abc import Sequence
from typing import Any

from imageloop.model.served_versions import versions_in
from seldon.service.bandit import Bandit, Method, rewards_file
from seldon.service.serving_place import ServingPlace

RIGHT = 0.5  # a reward from here on means that the prediction was right


class MeanCombiner:
    """Averages the probabilities of its children."""

    def __init__(self, model_name: str = "imageloop", model_version: str = "0") -> None:
        self._identity = {"model": model_name, "version": model_version}

    def aggregate_raw(self, messages: Any) -> dict[str, Any]:
        """The mean of several Seldon messages with predictions of the same classes, under the id of the first one.

        Raises: ValueError where they do not fit together, or a child failed.
        """
        found = messages["seldonMessages"]
        parts = [_names_and_rows(message) for message in found]
        names, rows = parts[0]
        for their_names, their_rows in parts[1:]:
            if their_names != names or len(their_rows) != len(rows):
                expected, got = f"{len(rows)} predictions of {names}", f"{len(their_rows)} of {their_names}"
                raise ValueError(f"expected {expected} from each child, got {got}")
        means = [_mean(rows_of_image) for rows_of_image in zip(*(rows for _, rows in parts), strict=True)]
        labels = [None if mean is None else names[mean.index(max(mean))] for mean in means]
        meta = found[0].get("meta", {})
        tags = meta.get("tags", {}) | self._identity | {"labels": labels}
        table = [[None] * len(names) if mean is None else mean for mean in means]
        return {"meta": meta | {"tags": tags}, "data": {"names": names, "ndarray": table}}


class BanditRouter:
    """Chooses one child for each request, and learns from the rewards of Seldon's feedback; each pod learns for itself."""

    def __init__(
        self, model_name: str = "imageloop", model_version: str = "0", method: Method = "thompson", epsilon: float = 0.1
    ) -> None:
        """`model_name`: of the manifest, as of every unit; it decides nothing here."""
        place = ServingPlace.from_environment()
        self._children = versions_in(model_version)
        self._bandit = Bandit(rewards_file(place.records, place.predictor), self._children, method, epsilon)

    def route(self, _features: Any, _names: Any, **_: Any) -> int:
        """The number of the child that predicts this request."""
        return self._children.index(self._bandit.choose())

    def send_feedback(self, _features: Any, _names: Any, reward: float, _label: Any, routing: int | None = None) -> None:
        """Learn from a reward between 0 and 1; feedback that does not say which child predicted teaches nothing."""
        if routing is not None and 0 <= routing < len(self._children):
            self._bandit.reward(self._children[routing], right=reward >= RIGHT)


def _names_and_rows(message: Any) -> tuple[list[str], list[list[float | None]]]:
    """The classes of a message and a row of probabilities for each image. Raises: ValueError where it holds none."""
    data = message.get("data") or {}
    if "ndarray" in data:
        return data["names"], data["ndarray"]
    raise ValueError(f"expected predictions as ndarray from each child, got {sorted(data) or sorted(message)}")


def _mean(rows: Sequence[list[float | None]]) -> list[float] | None:
    """The mean of one image's rows; None where a child refused the image."""
    columns = [[value for value in column if value is not None] for column in zip(*rows, strict=True)]
    return [sum(column) / len(rows) for column in columns] if all(len(column) == len(rows) for column in columns) else None
