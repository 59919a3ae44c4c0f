"""Which rows to take where all are too many."""

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(total: int, count: int) -> NDArray[np.intp]:
    """The numbers of at most `count` of `total` rows, evenly spaced."""
    return np.linspace(0, total - 1, min(count, total)).astype(np.intp)
