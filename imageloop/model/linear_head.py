"""Read the linear head of a package, and apply it to stored embeddings: the predictions of another version, without images.

Shapes: N rows, D features, K classes.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from imageloop.model.package import WEIGHTS, read_info

FloatArray = NDArray[np.float32]


def read_linear_head(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and biases of the head, (K, D) and (K,); they give logits before calibration."""
    import torch

    state = torch.load(folder / WEIGHTS, weights_only=True)
    weights_KD, biases_K = (state[name].numpy().astype(np.float64) for name in ("head.weight", "head.bias"))
    return weights_KD, biases_K


def predict_from_embeddings(folder: Path, embeddings_ND: FloatArray) -> FloatArray:
    """Calibrated probabilities, (N, D) -> (N, K)."""
    weights_KD, biases_K = read_linear_head(folder)
    logits_NK = embeddings_ND @ weights_KD.T + biases_K
    probabilities: FloatArray = softmax(logits_NK / read_info(folder).temperature, axis=1).astype(np.float32)
    return probabilities
