"""Features of a frozen backbone: computed once an image, by ONNX Runtime or on a GPU by PyTorch, and stored by content hash.

    python -m imageloop.training.features

exports the default backbone ahead of the first training.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from imageloop.atomic_files import hash_of, replacing
from imageloop.data.array_store import ArrayStore
from imageloop.data.prepared_images import PreparedImages, in_keyed_batches
from imageloop.data.preprocessing import CACHE_VERSION, UInt8Array
from imageloop.errors import ImageLoopError
from imageloop.execution_engine import ThisProcess, current_engine
from imageloop.model.onnx_session import open_session
from imageloop.model.package import BATCH, INPUT, JOINED_BY, WEIGHTS_MARK, weights_file
from imageloop.progress import counted, waiting
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
SHARD_SIZE = 256  # 38 MB of images at 224, which are sent to a worker together
Embedding = Callable[[UInt8Array], FloatArray]  # (N, S, S, 3) -> (N, D)
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
    if WEIGHTS_MARK in name and not (weights := weights_file(name, folder)).exists():
        fetch(weights)
    from imageloop.model.backbones import load_backbone  # torch: not needed where the file is there
    from imageloop.model.onnx_export import export_features

    logger.info("exporting the backbone '%s' for the first time, which takes some seconds", name)
    with waiting("export"):
        export_features(load_backbone(name, side, folder), side, target)
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


def _in_words(view: str) -> str:
    """What a view shows."""
    words = {"plain": "images", "flipped": "mirrored images"}
    return words.get(view) or f"changed copies ({view.rpartition('-')[0]})"


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
        return _side_by_side([backbone.extract(keys, view, prepared, change) for backbone in self._backbones])

    def keep(self, keys: list[str], view: str, features_ND: FloatArray) -> None:
        """Store features that another process computed, of a single backbone. Shapes: N keys, (N, D) float32."""
        (backbone,) = self._backbones
        backbone.store(view).append(keys, features_ND)

    def run(self, images_NSSC: UInt8Array) -> FloatArray:
        """The features of images, without storing them. Shapes: (N, S, S, 3) uint8 -> (N, D) float32."""
        return _side_by_side([backbone.run(images_NSSC) for backbone in self._backbones])


def _side_by_side(parts: list[FloatArray]) -> FloatArray:
    """The features of each backbone after those of the one before; of one they are not copied, for they may take gigabytes."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


class Backbone:
    """One backbone and the store of its features."""

    @classmethod
    def of(cls, name: str, side: int, workspace: Workspace, device: Device) -> "Backbone":
        gpu = _OnGpu(name, side, workspace.backbones) if device == "cuda" else None
        return cls(exported_backbone(name, side, workspace.backbones), workspace.features, gpu)

    def __init__(self, file: Path, features_folder: Path, gpu: "_OnGpu | None" = None) -> None:
        self._file, self._gpu = file, gpu
        self._session = open_session(file, usable_cores())
        self._embed, self._batch_size = (gpu.embed, gpu.BATCH) if gpu else (_embedding_by(self._session), BATCH)
        self.num_features = int(self._session.get_outputs()[1].shape[1])
        self._folder = features_folder / f"{file.stem}-{hash_of(file)[:12]}-{CACHE_VERSION}"

    def extract(self, keys: list[str], view: str, prepared: ArrayStore, change: BatchChange | None) -> FloatArray:
        store = self.store(view)
        store.discard_corrupt(keys)
        new = store.missing(keys)
        shown = _in_words(view)
        with counted(f"features of {shown}", len(new)) as advance:
            for shard, features_ND in self._compute(new, prepared, change or VIEWS[view]):
                store.append(shard, features_ND)
                advance(len(shard))
        level = logging.INFO if new else logging.DEBUG
        logger.log(level, "features of %s: computed %d, %d were known", shown, len(new), len(keys) - len(new))
        return store.read(keys)

    def store(self, view: str) -> ArrayStore:
        """The features of a view by SHA-256 of the image."""
        return ArrayStore(self._folder / view, (self.num_features,), np.float32)

    def _compute(self, keys: list[str], prepared: ArrayStore, change: BatchChange) -> Iterator[tuple[list[str], FloatArray]]:
        """The features of images in shards, as they end, on the engine of this step; on a GPU in this process."""
        shards = [keys[start : start + SHARD_SIZE] for start in range(0, len(keys), SHARD_SIZE)]
        engine = current_engine() if len(shards) > 1 and self._gpu is None else ThisProcess()
        task = _EmbedHere(self.run) if engine.is_this_process else EmbedImages(self._file.read_bytes(), self._batch_size)
        items = (
            np.concatenate([change(*batch) for batch in in_keyed_batches(prepared, shard, self._batch_size)]) for shard in shards
        )
        return ((shards[number], features_ND) for number, features_ND in engine.map(task, items))

    def run(self, images_NSSC: UInt8Array) -> FloatArray:
        return _in_batches(self._embed, images_NSSC, self._batch_size)


@dataclass(frozen=True)
class EmbedImages:
    """The task of an engine: from images as the model sees them, (N, S, S, 3) uint8, to features, (N, D) float32. `model`: a file's content."""

    model: bytes
    batch_size: int

    def open(self, cores: int) -> Embedding:
        """One session for all images that a worker gets."""
        embed = _embedding_by(open_session(self.model, cores))
        return lambda images_NSSC: _in_batches(embed, images_NSSC, self.batch_size)


@dataclass(frozen=True)
class _EmbedHere:
    """The same in this process, by what is open already."""

    embed: Embedding

    def open(self, _: int) -> Embedding:
        return self.embed


def _embedding_by(session: InferenceSession) -> Embedding:
    return lambda images_BSSC: np.asarray(session.run(["embedding"], {INPUT: images_BSSC})[0])


def _in_batches(embed: Embedding, images_NSSC: UInt8Array, size: int) -> FloatArray:
    """The batches of an image are the same on every machine, for arithmetic depends on their size."""
    starts = range(0, len(images_NSSC), size)
    return np.concatenate([embed(np.ascontiguousarray(images_NSSC[start : start + size])) for start in starts])


class _OnGpu:
    """The same network in PyTorch, in full float32: TF32, a GPU's default for convolutions, differs by more than the exported file may."""

    BATCH = 64

    def __init__(self, backbone: str, side: int, folder: Path) -> None:
        self._backbone = backbone, side, folder
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

        self._network = self._network or load_backbone(*self._backbone).to("cuda")
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
