"""Apply the linear head of a package to stored embeddings: the predictions of another version, without images.

Shapes: N rows, D features, K classes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imageloop.model.package import WEIGHTS, read_info

FloatArray = NDArray[np.float32]


def predict_from_embeddings(folder: Path, embeddings_ND: FloatArray) -> FloatArray:
    """Calibrated probabilities, (N, D) -> (N, K)."""
    import torch

    state = torch.load(folder / WEIGHTS, weights_only=True)
    logits_NK = torch.from_numpy(embeddings_ND) @ state["head.weight"].T + state["head.bias"]
    probabilities: FloatArray = (logits_NK / read_info(folder).temperature).softmax(1).numpy()
    return probabilities
