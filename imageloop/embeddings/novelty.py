"""How unlike anything in training a picture is: a model answers with confidence what it has never seen.

Shapes: N pictures of the reference, B pictures, D features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageloop.atomic_files import replacing
from imageloop.embeddings.scenes import scene_distance, unit

FAMILIAR = "familiar.npz"
NEIGHBOUR = 10  # the nearest ones are as near as near-duplicates make them; of many classes half of the pictures of one, at most
FALSE_ALARM_SHARE = 0.01  # of known pictures that are called unknown
MAX_PAIRED = 400
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Familiarity:
    """Distances to known pictures, by their `neighbour`th nearest. `limit`: beyond it a picture counts as unlike all of them.

    `scene`: two pictures that lie nearer to each other show one scene, as a camera's frames do.
    """

    known_ND: FloatArray
    limit: float
    neighbour: int = NEIGHBOUR
    scene: float = 0.0

    @classmethod
    def of(cls, embeddings_ND: FloatArray, num_classes: int, labels_M: NDArray[Any] | None = None) -> "Familiarity":
        """Shapes: (N, D), more than ten rows. `labels_M`: the classes of the first M, which are the data set's."""
        known_ND = unit(embeddings_ND.astype(np.float16).astype(np.float32))
        neighbour = min(NEIGHBOUR, max(1, len(known_ND) // (2 * num_classes)))
        similar_NN = known_ND @ known_ND.T
        np.fill_diagonal(similar_NN, -np.inf)
        limit = float(np.quantile(_distances(similar_NN, neighbour), 1 - FALSE_ALARM_SHARE))
        scene = _scene_distance(known_ND) if labels_M is None else scene_distance(known_ND[: len(labels_M)], labels_M)
        return cls(known_ND, limit, neighbour, scene)

    def distance(self, embeddings_BD: FloatArray) -> FloatArray:
        """The cosine distance to a near known picture, in [0, 2]. Shapes: (B, D) -> (B,)."""
        return _distances(unit(embeddings_BD) @ self.known_ND.T, self.neighbour)

    def write(self, folder: Path) -> None:
        with replacing(folder / FAMILIAR) as aside, aside.open("wb") as file:
            np.savez(
                file,
                known=self.known_ND.astype(np.float16),
                limit=np.float64(self.limit),
                neighbour=self.neighbour,
                scene=self.scene,
            )

    @classmethod
    def read(cls, folder: Path) -> "Familiarity | None":
        """None in packages of before there was this file."""
        if not (folder / FAMILIAR).exists():
            return None
        with np.load(folder / FAMILIAR, allow_pickle=False) as content:
            neighbour = int(content["neighbour"]) if "neighbour" in content else NEIGHBOUR  # which packages of before do not say
            known_ND = content["known"].astype(np.float32)
            scene = float(content["scene"]) if "scene" in content else _scene_distance(known_ND)
            return cls(known_ND, float(content["limit"]), neighbour, scene)


def scene_distance_of(package: Path) -> float:
    """0, which tells equal pictures alone, of a package of before there was one."""
    familiarity = Familiarity.read(package)
    return familiarity.scene if familiarity else 0.0


def _scene_distance(known_ND: FloatArray) -> float:
    """Where nothing says of which class they are."""
    return scene_distance(known_ND[:MAX_PAIRED], np.zeros(len(known_ND[:MAX_PAIRED])))


def _distances(similar_BN: FloatArray, neighbour: int) -> FloatArray:
    place = max(0, similar_BN.shape[1] - neighbour)
    nearest: FloatArray = np.partition(similar_BN, place, axis=1)[:, place]
    return 1 - nearest
