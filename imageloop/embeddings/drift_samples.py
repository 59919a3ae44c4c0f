"""Samples for the drift test: predictions, embeddings and statistics of images, without the images.

Shapes: N images, D features, K classes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.image_statistics import NAMES
from imageloop.embeddings.novelty import Novelty
from imageloop.embeddings.same_scene import scenes_of
from imageloop.evenly_spaced import evenly_spaced
from imageloop.model.package import REFERENCE, PackageInfo

MIN_SCENES = 5  # fewer are no evidence
MIN_UNSEEN = 50  # with fewer, images that the model was fitted on must serve as well
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """`statistics_NS` in the order of `imageloop.data.image_statistics.NAMES`; `pixels_N` and `formats_N` of the files, where known."""

    embeddings_ND: FloatArray
    statistics_NS: FloatArray
    probabilities_NK: FloatArray
    pixels_N: NDArray[np.float64] | None = None
    formats_N: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.embeddings_ND)

    def some(self, rows: NDArray[np.intp]) -> "Sample":
        """The rows of these numbers."""
        return Sample(
            self.embeddings_ND[rows],
            self.statistics_NS[rows],
            self.probabilities_NK[rows],
            None if self.pixels_N is None else self.pixels_N[rows],
            None if self.formats_N is None else self.formats_N[rows],
        )

    def spread(self, count: int) -> "Sample":
        """Select at most `count` rows, evenly spaced."""
        return self if len(self) <= count else self.some(evenly_spaced(len(self), count))


def frozen_scene_distance(novelty: Novelty | None, info: PackageInfo) -> float:
    """The scene distance where the features are those of a frozen backbone; else 0, which joins only equal images."""
    return novelty.scene if novelty and info.backbone else 0.0


def read_reference(folder: Path, class_names: list[str], scene_distance: float = 0.0) -> Sample:
    """The reference of a package, one row a scene; of images that the model was not trained on, where there are enough."""
    table = pd.read_parquet(folder / REFERENCE)
    table = table[~pd.Series(scenes_of(np.stack(table["embedding"].to_list()), scene_distance), table.index).duplicated()]
    unseen = table[table["split"] != "train"]
    rows = unseen if len(unseen) >= MIN_UNSEEN else table
    known = {name: name in rows and bool(rows[name].notna().all()) for name in ("width", "height", "format")}
    return Sample(
        np.stack(rows["embedding"].to_list()).astype(np.float32),
        rows[list(NAMES)].to_numpy(np.float32),
        rows[[f"p_{name}" for name in class_names]].to_numpy(np.float32),
        rows["width"].to_numpy(float) * rows["height"].to_numpy(float) if known["width"] and known["height"] else None,
        rows["format"].to_numpy(str) if known["format"] else None,
    )


def embeddings_of(table: pd.DataFrame) -> FloatArray:
    """The embeddings of records that have one, as the database gives them. Shapes: N rows -> (N, D) float32."""
    if table.empty:
        return np.empty((0, 0), np.float32)
    return np.stack([np.frombuffer(row, np.float16) for row in table["embedding"]]).astype(np.float32)


def with_scenes(table: pd.DataFrame, distance: float) -> pd.DataFrame:
    """Records in the order of time with `scene`, a number for all that show one: a camera's frames are one observation.

    A record without an embedding is a scene of its own.
    """
    scenes_N, seen = np.arange(len(table)), np.flatnonzero(table["embedding"].notna())
    scenes_N[seen] = seen[scenes_of(embeddings_of(table.iloc[seen]), distance)]
    return table.assign(scene=scenes_N)


def with_typical(table: pd.DataFrame, novelty: Novelty | None) -> pd.DataFrame:
    """Records with `typical`: whether the image lies as near to the known ones as four of five of these do to each other.

    Without a novelty model all are; a record without an embedding is not.
    """
    typical_N, seen = np.full(len(table), novelty is None), np.flatnonzero(table["embedding"].notna())
    if novelty is not None and len(seen):
        typical_N[seen] = novelty.distance(embeddings_of(table.iloc[seen])) <= novelty.typical_distance()
    return table.assign(typical=typical_N)


def sample_of_records(table: pd.DataFrame, class_names: list[str]) -> Sample:
    """A sample of prediction records, as the database returns them; rows without embedding or statistics are left out."""
    rows = table[table["embedding"].notna() & table["statistics"].notna()]
    with_files = len(rows) > 0 and bool(rows["width"].notna().all())
    return Sample(
        embeddings_of(rows),
        np.array([[row[name] for name in NAMES] for row in rows["statistics"]], np.float32).reshape(-1, len(NAMES)),
        np.array([[row.get(name, 0.0) for name in class_names] for row in rows["probabilities"]], np.float32).reshape(
            -1, len(class_names)
        ),
        rows["width"].to_numpy(float) * rows["height"].to_numpy(float) if with_files else None,
        rows["format"].to_numpy(str) if with_files else None,
    )
