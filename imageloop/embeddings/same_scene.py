"""Which images show one scene, by what a frozen backbone makes of them: a camera's frames are many images and one observation.

Shapes: N images, D features.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARE = 0.26  # of the distance between two images of a class: only frames of one scene lie nearer to each other
SAME = 1e-6  # what rounding does
BLOCK = 256
FloatArray = NDArray[np.float32]


def unit(rows_ND: FloatArray) -> FloatArray:
    """Each row of length 1."""
    lengths: FloatArray = np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)
    return rows_ND / lengths


def scene_distance(embeddings_ND: FloatArray, labels_N: NDArray[Any]) -> float:
    """The cosine distance below which two images show one scene: a share of the distance between two images of one class.

    A data set of frames, too, has many more pairs of different scenes than of one. 0 where no class has two images.
    """
    unit_ND = unit(embeddings_ND)
    apart = [
        (1 - rows_MD @ rows_MD.T)[np.triu_indices(len(rows_MD), 1)]
        for rows_MD in (unit_ND[labels_N == label] for label in np.unique(labels_N))
    ]
    together = np.concatenate(apart) if apart else np.empty(0)
    return SHARE * float(np.median(together)) if len(together) else 0.0


def scenes_of(embeddings_ND: FloatArray, distance: float) -> NDArray[np.intp]:
    """Return for each row the first row of its scene: a row joins the scene of the nearest earlier row, if that is near enough.

    So light may change and a camera pan, and a row's scene does not depend on rows that come after it. Shapes: (N, D) -> (N,).
    """
    from threadpoolctl import threadpool_limits  # here: the service imports this module and does not have it

    unit_ND, limit = unit(embeddings_ND), max(distance, SAME)
    scenes_N = np.arange(len(unit_ND))
    with threadpool_limits(1):  # more threads wait for each other where a service works beside them
        for start in range(0, len(unit_ND), BLOCK):
            block_BD = unit_ND[start : start + BLOCK]
            similar_BN = np.nan_to_num(block_BD @ unit_ND[: start + len(block_BD)].T, nan=-1.0)
            for row, similar_N in enumerate(similar_BN, start):
                if row and 1 - similar_N[nearest := int(similar_N[:row].argmax())] < limit:
                    scenes_N[row] = scenes_N[nearest]
    return scenes_N


def shows_one_of(embeddings_ND: FloatArray, known_MD: FloatArray, distance: float) -> NDArray[np.bool_]:
    """Whether each row shows a scene that one of the known rows shows. Shapes: (N, D), (M, D) -> (N,)."""
    unit_ND, known_MD = unit(embeddings_ND), unit(known_MD)
    found_N = np.zeros(len(unit_ND), bool)
    if len(known_MD):
        for start in range(0, len(unit_ND), BLOCK):
            found_N[start : start + BLOCK] = 1 - (unit_ND[start : start + BLOCK] @ known_MD.T).max(1) < distance
    return found_N
