"""A GPU that fails takes its process with it: the one that replaces it starts afresh, on a processor where no GPU is left."""

import logging
import os
import signal
from collections.abc import Callable

from imageloop.model.onnx_session import GpuLostError
from seldon.service.request_errors import RequestError

logger = logging.getLogger(__name__)


def computed_or_ended[**Arguments, Result](
    function: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Call a function that runs the model. Raises: RequestError where the GPU failed; then this process ends as on SIGTERM."""
    try:
        return function(*arguments, **named)
    except GpuLostError as error:
        logger.critical("the GPU failed, and this process ends: %s", error)
        os.kill(os.getpid(), signal.SIGTERM)
        raise RequestError(
            503, "gpu_lost", "expected a GPU that computes, got one that failed; send the request again", retry_after_seconds=1
        ) from error
