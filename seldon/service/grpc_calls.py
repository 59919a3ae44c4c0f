"""One call over gRPC: who calls, and its images on their way through the queue of the compute threads."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from seldon.service.callers import valid_caller_id
from seldon.service.held_requests import computed
from seldon.service.prediction_requests import PredictionRequest, ServedPrediction, Stage, source_of
from seldon.service.request_errors import RequestError
from seldon.service.rollout_requests import ROLLOUT_HEADER, is_of_rollout
from seldon.service.seldon_messages import Contents
from seldon.service.serving_protocols import CLIENT_HEADER

if TYPE_CHECKING:
    from seldon.service.prediction_handler import PredictionHandler


class Call:
    """A call; `metadata`: its headers, by names in small letters. What is `held` for it is released when its work is over."""

    def __init__(self, handler: "PredictionHandler", metadata: Mapping[str, str], stages: list[Stage] | None) -> None:
        self._handler, self._stages, self._gone = handler, stages, False
        self.held, self.begun = ExitStack(), time.perf_counter()
        self.caller_id = valid_caller_id(metadata.get("x-request-id", ""), metadata.get("traceparent", ""))
        self.client = metadata.get(CLIENT_HEADER.lower())
        self.of_rollout = is_of_rollout(metadata.get(ROLLOUT_HEADER.lower()))

    async def predicted(self, contents: Contents, route: str) -> list[ServedPrediction | RequestError]:
        """Predict images. Raises: as `computed`."""
        request = PredictionRequest(
            contents,
            self.caller_id,
            source_of(route, self.client),
            not self.of_rollout,
            lambda: self._gone,
            self.begun,
            self._stages,
        )
        try:
            return await computed(self._handler, request, self.held)
        except asyncio.CancelledError:
            self._gone = True
            raise

    async def in_thread[Result](self, function: Callable[..., Result], *arguments: Any) -> Result:
        """The result of work that waits for the disk."""
        self.held.enter_context(self._handler.admission.computing())
        return await asyncio.to_thread(function, *arguments)
