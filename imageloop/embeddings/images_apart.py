"""Images that lie apart from the others of their window: a part of it shows what the model never saw, or was changed.

A change of all images moves the nearest ones too, so distances are compared after the window was moved back by as much.

Shapes: N images of a window.
"""

import numpy as np
from numpy.typing import NDArray

NEAREST = 0.1  # the share of a window that says how far all of it moved
LEVELS = (0.9, 0.95, 0.99)  # shares of known images that lie nearer
CHANCE = 1.645  # standard deviations that a share lies above its expectation in one of twenty windows
Array = NDArray[np.float64]


def usual_distances(distance_N: Array) -> Array:
    """The distances by which `chance_apart` judges, of images such as the model was made for, (4,)."""
    usual_4: Array = np.quantile(distance_N, (NEAREST, *LEVELS))
    return usual_4


def chance_apart(distance_N: Array, usual_4: Array) -> Array:
    """The probability of each image that it is one of those apart, (N,): 0 for all where not more lie far away than chance explains."""
    moved_N = distance_N - max(0.0, float(np.quantile(distance_N, NEAREST) - usual_4[0]))
    most, apart_N = 0.0, np.zeros(len(distance_N))
    for level, usual in zip(LEVELS, usual_4[1:], strict=True):
        beyond_N = moved_N > usual
        excess = float(beyond_N.mean()) - (1 - level) - CHANCE * float(np.sqrt(level * (1 - level) / len(distance_N)))
        if excess > most:
            most, apart_N = excess, beyond_N * excess / beyond_N.mean()
    return apart_N
