"""Where a model is served: its predictor, its records, and the threads that compute."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from imageloop.model.verify_package import Verify, verified_package
from seldon.service.compute_threads import ComputeThreads

RECORDS_VARIABLE = "IMAGELOOP_RECORDS"
PREDICTOR_VARIABLE = "PREDICTOR_ID"


@dataclass(frozen=True)
class ServingPlace:
    """`records`: None where none are written; `scope`: names the deployment in metrics, where a process serves several of them.

    `compute`: the threads that the models of a process share; None for a model that has threads of its own. `verify`: how packages are verified.
    """

    predictor: str
    records: Path | None
    scope: str = ""
    compute: ComputeThreads | None = None
    verify: Verify = verified_package

    @classmethod
    def from_environment(cls) -> Self:
        """The place of a process that serves one model."""
        records = os.environ.get(RECORDS_VARIABLE)
        return cls(os.environ.get(PREDICTOR_VARIABLE) or "default", Path(records) if records else None)
