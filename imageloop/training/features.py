"""Features of a frozen backbone: computed once an image, by ONNX Runtime or on a GPU by PyTorch, and stored by content hash.

    python -m imageloop.training.features

exports the default backbone ahead of the first training.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.atomic_files import hash_of, replacing
from imageloop.data.array_store import ArrayStore
from imageloop.data.prepared_images import PreparedImages, in_keyed_batches
from imageloop.data.preprocessing import CACHE_VERSION, UInt8Array
from imageloop.errors import ImageLoopError
from imageloop.model.onnx_session import open_session
from imageloop.model.package import BATCH, INPUT, JOINED_BY
from imageloop.progress import track, waiting
from imageloop.shared_folder import fetch, publish
from imageloop.training.devices import Device
from imageloop.training.settings import TrainingSettings
from imageloop.usable_cores import usable_cores
from imageloop.workspace_paths import Workspace

if TYPE_CHECKING:
    from imageloop.model.backbones import Features

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float32]
EXPORT_VERSION = "4"  # another number: every backbone is exported anew
SHARD_SIZE = 512
BatchChange = Callable[[Sequence[str], UInt8Array], UInt8Array]  # keys and images, (B, S, S, 3) -> the same
VIEWS: dict[str, BatchChange] = {
    "plain": lambda _, images_BSSC: images_BSSC,
    "flipped": lambda _, images_BSSC: images_BSSC[:, :, ::-1],
}


def exported_backbone(name: str, side: int, folder: Path) -> Path:
    """The backbone as ONNX, exported on first use; a file that was changed since is made again."""
    target = folder / f"{name}-{side}-v{EXPORT_VERSION}.onnx"
    if not is_whole(target):
        fetch(target)
        fetch(target.with_suffix(".sha256"))
    if is_whole(target):
        return target
    from imageloop.model.backbones import load_backbone  # torch: not needed where the file is there
    from imageloop.model.onnx_export import export_features

    logger.info("exporting the backbone '%s' for the first time, which takes some seconds", name)
    with waiting("export"):
        export_features(load_backbone(name), side, target)
    seal(target)
    publish(target)
    publish(target.with_suffix(".sha256"))
    return target


def seal(file: Path) -> None:
    """Write the hash of a finished file beside it."""
    with replacing(file.with_suffix(".sha256")) as aside:
        aside.write_text(hash_of(file))


def is_whole(file: Path) -> bool:
    """Whether the file is there and as it was when it was sealed."""
    mark = file.with_suffix(".sha256")
    return file.exists() and mark.exists() and mark.read_text() == hash_of(file)


class FeatureExtractor:
    """Features by SHA-256 of the image and by view, (N, D) float32; of joined backbones those of each, one after the other."""

    @classmethod
    def of(cls, backbone: str, side: int, workspace: Workspace, device: Device = "cpu") -> "FeatureExtractor":
        """Open a backbone by its name, or several whose names are joined; each is exported on first use, and its features are stored once."""
        return cls([Backbone.of(name, side, workspace, device) for name in backbone.split(JOINED_BY)])

    def __init__(self, backbones: "Sequence[Backbone]") -> None:
        self._backbones = backbones
        self.num_features = sum(backbone.num_features for backbone in backbones)

    def extract(self, keys: list[str], view: str, prepared: ArrayStore, change: BatchChange | None = None) -> FloatArray:
        """The features of `keys` in their order; those that are known are not computed. `change` makes the view of a batch of images.

        Shapes: N keys -> (N, D) float32.
        """
        return np.concatenate([backbone.extract(keys, view, prepared, change) for backbone in self._backbones], axis=1)

    def run(self, images_NSSC: UInt8Array) -> FloatArray:
        """The features of images, without storing them. Shapes: (N, S, S, 3) uint8 -> (N, D) float32."""
        return np.concatenate([backbone.run(images_NSSC) for backbone in self._backbones], axis=1)


class Backbone:
    """One backbone and the store of its features."""

    @classmethod
    def of(cls, name: str, side: int, workspace: Workspace, device: Device) -> "Backbone":
        gpu = _OnGpu(name) if device == "cuda" else None
        return cls(exported_backbone(name, side, workspace.backbones), workspace.features, gpu)

    def __init__(self, file: Path, features_folder: Path, gpu: "_OnGpu | None" = None) -> None:
        self._session = open_session(file, usable_cores())
        self._embed, self._batch_size = (gpu.embed, gpu.BATCH) if gpu else (self._embed_here, BATCH)
        self.num_features = int(self._session.get_outputs()[1].shape[1])
        self._folder = features_folder / f"{file.stem}-{hash_of(file)[:12]}-{CACHE_VERSION}"

    def extract(self, keys: list[str], view: str, prepared: ArrayStore, change: BatchChange | None) -> FloatArray:
        store = ArrayStore(self._folder / view, (self.num_features,), np.float32)
        store.discard_corrupt(keys)
        new = store.missing(keys)
        ticks = track(range(0, len(new), SHARD_SIZE), f"features ({view})", len(new), SHARD_SIZE)
        for start in ticks:
            shard = new[start : start + SHARD_SIZE]
            store.append(shard, self._run_all(prepared, shard, change or VIEWS[view]))
        logger.info("computed features of %d images (%s), %d were known", len(new), view, len(keys) - len(new))
        return store.read(keys)

    def _run_all(self, prepared: ArrayStore, keys: list[str], change: BatchChange) -> FloatArray:
        batches = in_keyed_batches(prepared, keys, self._batch_size)
        return np.concatenate([self.run(change(some, images_BSSC)) for some, images_BSSC in batches])

    def run(self, images_NSSC: UInt8Array) -> FloatArray:
        size = self._batch_size
        batches = [np.ascontiguousarray(images_NSSC[start : start + size]) for start in range(0, len(images_NSSC), size)]
        return np.concatenate([self._embed(images_BSSC) for images_BSSC in batches])

    def _embed_here(self, images_BSSC: UInt8Array) -> FloatArray:
        embeddings_BD: FloatArray = self._session.run(["embedding"], {INPUT: images_BSSC})[0]
        return embeddings_BD


class _OnGpu:
    """The same network in PyTorch, in full float32: TF32, a GPU's default for convolutions, differs by more than the exported file may."""

    BATCH = 64

    def __init__(self, backbone: str) -> None:
        self._backbone = backbone
        self._network: Features | None = None  # until there is something to compute

    def embed(self, images_BSSC: UInt8Array) -> FloatArray:
        """Shapes: (B, S, S, 3) uint8 -> (B, D) float32. Raises: ImageLoopError where the GPU's memory is too small."""
        import torch

        try:
            return self._embed(images_BSSC)
        except torch.OutOfMemoryError as error:
            raise ImageLoopError(
                f"expected memory of the GPU for {len(images_BSSC)} images, got too little; end what else runs there, lower the model's "
                "side_pixels, or set training.device=cpu"
            ) from error

    def _embed(self, images_BSSC: UInt8Array) -> FloatArray:
        import torch

        from imageloop.model.backbones import load_backbone

        self._network = self._network or load_backbone(self._backbone).to("cuda")
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            embeddings_BD: FloatArray = self._network(torch.from_numpy(images_BSSC).to("cuda")).mean((2, 3)).cpu().numpy()
        return embeddings_BD


def known_features(
    images: PreparedImages, table: pd.DataFrame, backbone: str, workspace: Workspace, device: Device = "cpu"
) -> FloatArray:
    """The features of the images of `table`, without augmentation, in their order; from the store where it has them.

    Shapes: N rows -> (N, D) float32.
    """
    extractor = FeatureExtractor.of(backbone, images.side_pixels, workspace, device)
    return extractor.extract(table["sha256"].tolist(), "plain", images.open_store(workspace.prepared))


if __name__ == "__main__":
    defaults = TrainingSettings()
    exported_backbone(defaults.label_backbone, defaults.side_pixels, Workspace.current().backbones)
