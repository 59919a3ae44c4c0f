"""How a prediction relates to the labelled images that a model knows: five signs of whether it is right.

Shapes: M known images, N images, D features, d of them for each of H small heads, K classes.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from imageloop.embeddings.novelty import distance_of_share, distances, neighbour_of
from imageloop.embeddings.same_scene import unit

SIGNS = ("confidence", "distance", "neighbours", "trust", "votes")
LEAST_NEIGHBOURS = 3
NUM_HEADS, SHARE_OF_FEATURES, RIDGE = 7, 8, 0.3
NO_IMAGE = -9.0  # a similarity below all others
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class KnownImages:
    """Embeddings of length 1 with their classes, and small linear heads, each of a bootstrap sample and some of the features.

    `usual_distance`: the median distance of a known image to its `neighbour`th nearest.
    """

    embeddings_MD: FloatArray
    classes_M: NDArray[np.int64]
    neighbour: int
    usual_distance: float
    features_Hd: NDArray[np.int64]
    means_Hd: FloatArray
    heads_HdK: FloatArray
    shares_HK: FloatArray

    @classmethod
    def of(cls, embeddings_MD: FloatArray, classes_M: NDArray[np.int64], num_classes: int, seed: int = 0) -> Self:
        known_MD = unit(embeddings_MD.astype(np.float16).astype(np.float32))
        neighbour = neighbour_of(len(known_MD), num_classes)
        usual = distance_of_share(known_MD, neighbour, 0.5)
        rng, one_hot_KK = np.random.default_rng(seed), np.eye(num_classes)
        width = max(1, known_MD.shape[1] // SHARE_OF_FEATURES)
        heads = []
        for _ in range(NUM_HEADS):
            rows, columns = rng.integers(0, len(known_MD), len(known_MD)), rng.choice(known_MD.shape[1], width, replace=False)
            drawn_Md, targets_MK = known_MD[rows][:, columns].astype(np.float64), one_hot_KK[classes_M[rows]]
            heads.append((columns, *_ridge(drawn_Md, targets_MK)))
        features, means, weights, shares = (np.stack(parts) for parts in zip(*heads, strict=True))
        return cls(known_MD, classes_M, neighbour, max(usual, 1e-6), features, *map(_float32, (means, weights, shares)))

    def signs(self, embeddings_ND: FloatArray, probabilities_NK: FloatArray) -> NDArray[np.float64]:
        """For each prediction: its confidence (a logit), the distance from known images (a logarithm, 0 is usual), the share of nearest known
        images of its class, the trust score (a logarithm), and the share of small heads that predict the same. Shapes: (N, 5).

        Source of the trust score: Jiang et al., To Trust Or Not To Trust A Classifier, 2018.
        """
        unit_ND, predicted_N = unit(embeddings_ND), probabilities_NK.argmax(1)
        similar_NM = unit_ND @ self.embeddings_MD.T
        count = min(max(LEAST_NEIGHBOURS, self.neighbour), similar_NM.shape[1])
        nearest_Nn = np.argpartition(-similar_NM, count - 1, axis=1)[:, :count]
        distance_N = distances(similar_NM, self.neighbour)
        same_NM = self.classes_M[None] == predicted_N[:, None]
        own_N, other_N = (1 - np.where(mask, similar_NM, NO_IMAGE).max(1) for mask in (same_NM, ~same_NM))
        confidence_N = probabilities_NK.max(1).clip(1e-6, 1 - 1e-4)
        return np.stack(
            [
                np.log(confidence_N / (1 - confidence_N)),
                np.log(np.maximum(distance_N, 0) / self.usual_distance + 1e-3),
                np.take_along_axis(same_NM, nearest_Nn, 1).mean(1),
                np.log((np.maximum(other_N, 0) + 1e-3) / (np.maximum(own_N, 0) + 1e-3)),
                np.mean([votes_N == predicted_N for votes_N in self._votes(unit_ND)], axis=0),
            ],
            axis=1,
        ).astype(np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All fields as arrays, as `of_arrays` takes them."""
        return {
            "embeddings": self.embeddings_MD.astype(np.float16),
            "classes": self.classes_M,
            "neighbour": np.array(self.neighbour),
            "usual_distance": np.array(self.usual_distance),
            "features": self.features_Hd,
            "means": self.means_Hd,
            "heads": self.heads_HdK,
            "shares": self.shares_HK,
        }

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(
            arrays["embeddings"].astype(np.float32),
            arrays["classes"],
            int(arrays["neighbour"]),
            float(arrays["usual_distance"]),
            *(arrays[name] for name in ("features", "means", "heads", "shares")),
        )

    def _votes(self, unit_ND: FloatArray) -> list[NDArray[np.intp]]:
        parts = zip(self.features_Hd, self.means_Hd, self.heads_HdK, self.shares_HK, strict=True)
        return [((unit_ND[:, columns] - mean_d) @ head_dK + share_K).argmax(1) for columns, mean_d, head_dK, share_K in parts]


def _ridge(rows_Md: NDArray[np.float64], targets_MK: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The mean of the rows, the weights of ridge regression on the centred ones (d, K), and the mean of the targets."""
    mean_d, share_K = rows_Md.mean(0), targets_MK.mean(0)
    centred_Md = rows_Md - mean_d
    strength = RIDGE * float((centred_Md**2).sum(1).mean()) + 1e-9
    gram_dd = centred_Md.T @ centred_Md + strength * np.eye(centred_Md.shape[1])
    return mean_d, np.linalg.solve(gram_dd, centred_Md.T @ (targets_MK - share_K)), share_K


def _float32(values: NDArray[Any]) -> FloatArray:
    return values.astype(np.float32)
