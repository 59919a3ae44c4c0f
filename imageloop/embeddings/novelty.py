"""Novelty: how far an image lies from all training images. A model predicts confidently also what is out of distribution.

Shapes: N images of the reference, B images, D features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageloop.atomic_files import replacing
from imageloop.embeddings.same_scene import scene_distance, unit

NOVELTY_FILE = "novelty.npz"
OLD_NOVELTY_FILE = "familiar.npz"  # in packages made before 0.2.0
NEIGHBOUR = 10  # nearer ones may be near duplicates; with many classes at most half of the images of one class
FALSE_ALARM_SHARE = 0.01  # of in-distribution images that are called novel
TYPICAL_SHARE = 0.8
MAX_PAIRED = 400
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Novelty:
    """Distances to reference images, by the `neighbour`th nearest. `limit`: beyond it an image counts as out of distribution.

    `scene`: two images that lie nearer to each other show one scene, as a camera's frames do.
    """

    known_ND: FloatArray
    limit: float
    neighbour: int = NEIGHBOUR
    scene: float = 0.0

    @classmethod
    def of(cls, embeddings_ND: FloatArray, num_classes: int, labels_M: NDArray[Any] | None = None) -> "Novelty":
        """Shapes: (N, D), more than ten rows. `labels_M`: the classes of the first M, which are the data set's."""
        known_ND = unit(embeddings_ND.astype(np.float16).astype(np.float32))
        neighbour = neighbour_of(len(known_ND), num_classes)
        limit = distance_of_share(known_ND, neighbour, 1 - FALSE_ALARM_SHARE)
        scene = _scene_distance(known_ND) if labels_M is None else scene_distance(known_ND[: len(labels_M)], labels_M)
        return cls(known_ND, limit, neighbour, scene)

    def distance(self, embeddings_BD: FloatArray) -> FloatArray:
        """The cosine distance to a near known image, in [0, 2]. Shapes: (B, D) -> (B,)."""
        return distances(unit(embeddings_BD) @ self.known_ND.T, self.neighbour)

    def typical_distance(self) -> float:
        """The distance within which four of five known images lie from the others."""
        return distance_of_share(self.known_ND, self.neighbour, TYPICAL_SHARE)

    def write(self, folder: Path) -> None:
        with replacing(folder / NOVELTY_FILE) as aside, aside.open("wb") as file:
            np.savez(
                file,
                known=self.known_ND.astype(np.float16),
                limit=np.float64(self.limit),
                neighbour=self.neighbour,
                scene=self.scene,
            )

    @classmethod
    def read(cls, folder: Path) -> "Novelty | None":
        """Read the novelty model of a package, None where it has none."""
        file = next((folder / name for name in (NOVELTY_FILE, OLD_NOVELTY_FILE) if (folder / name).exists()), None)
        if file is None:
            return None
        with np.load(file, allow_pickle=False) as content:
            neighbour = (
                int(content["neighbour"]) if "neighbour" in content else NEIGHBOUR
            )  # missing in packages of earlier releases
            known_ND = content["known"].astype(np.float32)
            scene = float(content["scene"]) if "scene" in content else _scene_distance(known_ND)
            return cls(known_ND, float(content["limit"]), neighbour, scene)


def scene_distance_of(package: Path) -> float:
    """The scene distance of a package; 0, which joins only equal images, where it has none."""
    novelty = Novelty.read(package)
    return novelty.scene if novelty else 0.0


def _scene_distance(known_ND: FloatArray) -> float:
    """The scene distance where the classes are unknown."""
    return scene_distance(known_ND[:MAX_PAIRED], np.zeros(len(known_ND[:MAX_PAIRED])))


def neighbour_of(num_known: int, num_classes: int) -> int:
    """Which neighbour measures distances, so that most of its kind are images of the same class."""
    return min(NEIGHBOUR, max(1, num_known // (2 * num_classes)))


def distance_of_share(known_ND: FloatArray, neighbour: int, share: float) -> float:
    """The distance within which a share of the known images lie from the others."""
    similar_NN = known_ND @ known_ND.T
    np.fill_diagonal(similar_NN, -np.inf)
    return float(np.quantile(distances(similar_NN, neighbour), share))


def distances(similar_BN: FloatArray, neighbour: int) -> FloatArray:
    """The distance of each row to its `neighbour`th nearest known image, from similarities (B, N) -> (B,)."""
    place = max(0, similar_BN.shape[1] - neighbour)
    nearest: FloatArray = np.partition(similar_BN, place, axis=1)[:, place]
    return 1 - nearest
