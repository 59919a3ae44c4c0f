"""Send labelled test images to the candidate and the stable version, before the candidate gets traffic."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import numpy as np
from numpy.typing import NDArray

from imageloop.errors import ImageLoopError
from imageloop.model.test_images import TestImage
from seldon.delivery.clusters.cluster_protocol import Caller
from seldon.delivery.rollouts.smoke_tests import call

logger = logging.getLogger(__name__)
NUM_CLIENTS = 4


@dataclass(frozen=True)
class TestImageResults:
    """Whether each of N test images was predicted right, (N,) each: through the gateway now, and by the evaluation before registration.

    `stable_right_N` is None where there is no stable version to compare with: it does not respond, or has other classes.
    """

    __test__ = False

    candidate_right_N: NDArray[np.bool_]
    stable_right_N: NDArray[np.bool_] | None
    registered_right_N: NDArray[np.bool_]


def compare_on_test_images(images: Sequence[TestImage], candidate: Caller, stable: Caller | None) -> TestImageResults:
    """Send each image to both versions.

    Raises: SmokeTestError where the candidate fails, DeploymentError where it cannot be reached.
    """
    silent = Event()  # the stable version may be what the candidate mends: its faults end the comparison, not the rollout
    if stable is None or not images:
        silent.set()

    def send(image: TestImage) -> tuple[bool, bool]:
        label, names = _predict(candidate, image)
        if stable is None or silent.is_set():
            return label == image.label, False
        try:
            stable_label, stable_names = _predict(stable, image)
        except ImageLoopError as error:
            logger.warning("the stable version cannot be compared on test images: %s", error)
            silent.set()
            return label == image.label, False
        if names != stable_names:
            silent.set()
        return label == image.label, stable_label == image.label

    first = [send(image) for image in images[:1]]  # a version that does not respond is found out once, not by every client
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        right_N2 = np.array([*first, *pool.map(send, images[1:])], bool).reshape(-1, 2)
    registered_N = np.array([image.right for image in images], bool)
    return TestImageResults(right_N2[:, 0], None if silent.is_set() else right_N2[:, 1], registered_N)


def _predict(caller: Caller, image: TestImage) -> tuple[str, frozenset[str]]:
    """Return the predicted label, and the names of the classes."""
    prediction = json.loads(call(caller, "predict", image.content, "image/jpeg"))
    return prediction["label"], frozenset(prediction["probabilities"])
