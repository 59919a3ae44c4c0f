"""A request on its way through the queue of the compute threads, with what is held for it."""

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

from seldon.service.prediction_requests import PredictionRequest, ServedPrediction
from seldon.service.request_errors import RequestError

if TYPE_CHECKING:
    from seldon.service.prediction_handler import PredictionHandler


async def computed(
    handler: "PredictionHandler", request: PredictionRequest, held: ExitStack
) -> list[ServedPrediction | RequestError]:
    """Predict the images of a request. What is held is kept as long as they are computed, though the caller has gone.

    Raises: RequestError; CancelledError where the caller goes.
    """
    held.enter_context(handler.admission.computing(large=request.is_large()))
    result = handler.submit(request)
    release = held.pop_all().close
    result.add_done_callback(lambda _: release())
    return await asyncio.wrap_future(result)
