"""Which images show the same thing: equal bytes, or perceptual hashes that differ in a few bits."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from imageloop.data.catalog_schema import accepted
from imageloop.data.perceptual_hash import near_pairs


@dataclass(frozen=True)
class Lookalikes:
    """The accepted images by what they show: rows of one hash, and which hashes lie within a few bits of each other."""

    rows: list[list[int]]
    near: dict[int, set[int]]

    def family(self, node: int) -> list[int]:
        """The rows of one hash, and of those that lie near it."""
        return [*self.rows[node], *(row for other in self.near.get(node, ()) for row in self.rows[other])]


def find_lookalikes(catalog: pd.DataFrame, max_bits: int) -> Lookalikes:
    """Collect rows (by index) of equal hash, and link hashes that differ in at most `max_bits` of 64 bits."""
    images = accepted(catalog)
    hashes = images["perceptual_hash"].map(lambda text: int(text, 16)).to_numpy(np.uint64)
    values, inverse = np.unique(hashes, return_inverse=True)
    rows: list[list[int]] = [[] for _ in values]
    for row, node in zip(images.index, inverse, strict=True):
        rows[node].append(row)
    near: dict[int, set[int]] = {}
    for left, right in near_pairs(values, max_bits).tolist():
        near.setdefault(left, set()).add(right)
        near.setdefault(right, set()).add(left)
    return Lookalikes(rows, near)
