"""Which pictures show one scene, by what a frozen backbone makes of them: a camera's frames are many pictures and one observation.

Shapes: N pictures, D features.
"""

import numpy as np
from numpy.typing import NDArray

SHARE = 0.5  # of the distance from a picture to the nearest other one: frames lie nearer to each other, and nothing else does
BLOCK = 256
FloatArray = NDArray[np.float32]


def unit(rows_ND: FloatArray) -> FloatArray:
    """Each row of length 1."""
    lengths: FloatArray = np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)
    return rows_ND / lengths


def scene_distance(embeddings_ND: FloatArray) -> float:
    """The cosine distance below which two pictures show one scene, by pictures most of which show different ones."""
    unit_ND = unit(embeddings_ND)
    similar_NN = unit_ND @ unit_ND.T
    np.fill_diagonal(similar_NN, -np.inf)
    return SHARE * float(np.median(1 - similar_NN.max(1)))


def scenes_of(embeddings_ND: FloatArray, distance: float) -> NDArray[np.intp]:
    """For each row the place of the nearest row before it that began a scene; its own where it begins one.

    So a row's scene does not depend on rows that come after it. Shapes: (N, D) -> (N,).
    """
    unit_ND = unit(embeddings_ND)
    scenes_N = np.arange(len(unit_ND))
    firsts: list[int] = []
    firsts_FD = np.empty_like(unit_ND)  # the rows of `firsts`
    for start in range(0, len(unit_ND), BLOCK):
        block_BD, before = unit_ND[start : start + BLOCK], len(firsts)
        similar_BF = block_BD @ firsts_FD[:before].T
        similar_BB = block_BD @ block_BD.T
        for place in range(len(block_BD)):
            within = [first - start for first in firsts[before:]]
            similar_F = np.concatenate([similar_BF[place], similar_BB[place, within]])
            nearest = int(similar_F.argmax()) if len(similar_F) else 0
            if len(similar_F) and 1 - similar_F[nearest] < distance:
                scenes_N[start + place] = firsts[nearest]
            else:
                firsts_FD[len(firsts)] = block_BD[place]
                firsts.append(start + place)
    return scenes_N
