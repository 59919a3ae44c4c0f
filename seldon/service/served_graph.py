"""The models that one process serves together: one, the mean of several (a combiner), or one of several by request (a router)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast

from imageloop.embeddings.novelty import Novelty
from imageloop.errors import SettingsError
from imageloop.model.mean_predictor import MeanPredictor, joint_info
from imageloop.model.package import PackageInfo
from imageloop.model.predictor import Predictor
from imageloop.model.verify_package import Verify, verified_package
from seldon.service.bandit import Bandit, Method, rewards_file
from seldon.service.prediction_handler import PredictionHandler, Shared
from seldon.service.prediction_requests import Identity
from seldon.service.version_router import VersionRouter

Kind = Literal["MODEL", "COMBINER", "ROUTER"]


class Member(NamedTuple):
    """A version and the folder of its package."""

    version: str
    folder: Path


@dataclass(frozen=True)
class ServedGraph:
    """Units as Seldon's graphs name them. `members`: the first one stands for all where only one can. `method`, `epsilon`: of a router."""

    kind: Kind
    members: tuple[Member, ...]
    method: Method = "thompson"
    epsilon: float = 0.1

    @classmethod
    def of(cls, model_uri: str, model_version: str, parameter: str) -> Self:
        """Read the unit's parameter `graph`, which is empty for a single model.

        Raises: SettingsError where it is no graph.
        """
        if not parameter:
            return cls("MODEL", (Member(model_version, _folder(model_uri)),))
        try:
            found = json.loads(parameter)
            members = tuple(Member(str(one["version"]), _folder(one["model_uri"])) for one in found.pop("members"))
            return cls(members=members, **found)
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"the parameter `graph`: expected the JSON of a combiner or router, got '{parameter[:200]}'"
            ) from error

    def verify(self, key: Path, verify: Verify = verified_package) -> PackageInfo:
        """The joint description of the packages, once all are verified.

        Raises: PackageError; ImageLoopError where they do not fit together.
        """
        return joint_info([verify(member.folder, key) for member in self.members])

    def open(self) -> list[Predictor]:
        """Open the models, which were verified."""
        return [Predictor.unsigned(member.folder, threads=1) for member in self.members]

    def handler(
        self, predictors: Sequence[Predictor], identity: Identity, shared: Shared, records: Path | None
    ) -> PredictionHandler:
        """What predicts with the opened models. `records`: the folder beside whose files a router keeps what it learns."""
        first = self.members[0].folder
        if self.kind == "MODEL":
            return PredictionHandler(predictors[0], identity, shared, Novelty.read(first))
        if self.kind == "COMBINER":
            return PredictionHandler(MeanPredictor(predictors), identity, shared, Novelty.read(first))
        handlers = {
            member.version: PredictionHandler(
                predictor, replace(identity, model_version=member.version), shared, Novelty.read(member.folder)
            )
            for member, predictor in zip(self.members, predictors, strict=True)
        }
        bandit = Bandit(rewards_file(records, identity.predictor), list(handlers), self.method, self.epsilon)
        return VersionRouter(handlers, bandit, predictors[0], identity, shared)


def _folder(uri: Any) -> Path:
    return Path(cast("str", uri).removeprefix("file://"))
