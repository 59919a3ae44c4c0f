"""Several models of the same classes as one: the mean of their probabilities."""

from collections.abc import Sequence

import numpy as np

from imageloop.data.preprocessing import UInt8Array, resize_preprocessed
from imageloop.errors import ImageLoopError
from imageloop.model.package import PackageInfo
from imageloop.model.predictor import FloatArray, Predictor


class MeanPredictor(Predictor):
    """Predicts with all of `members`; embeddings and activation maps are those of the first one.

    So novelty and drift are measured against the training data of the first member. Images are preprocessed once, to the side of
    the member that sees most pixels, and resized for the others.
    Source: averaging of probabilities, Lakshminarayanan et al., 2017 (deep ensembles).
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        """Raises: ImageLoopError for members of other classes."""
        first = members[0]
        self._members = members
        self.info, self.limits, self.on_gpu = joint_info([member.info for member in members]), first.limits, first.on_gpu
        self.precision = "+".join(dict.fromkeys(member.precision for member in members))

    def _run(self, images_BSSC: UInt8Array) -> list[FloatArray]:
        outputs = [member._run(resize_preprocessed(images_BSSC, member.info.side_pixels)) for member in self._members]
        return [np.mean([probabilities_BK for probabilities_BK, *_ in outputs], axis=0, dtype=np.float32), *outputs[0][1:]]


def joint_info(infos: Sequence[PackageInfo]) -> PackageInfo:
    """The description of the first model, with the side of the one that sees most pixels.

    Raises: ImageLoopError for models of other classes, whose predictions cannot stand for each other.
    """
    first = infos[0]
    for info in infos[1:]:
        if info.class_names != first.class_names:
            raise ImageLoopError(
                f"expected versions of the same classes ({', '.join(first.class_names)}), got one of {', '.join(info.class_names)}"
            )
        if info.preprocessing_version != first.preprocessing_version:
            raise ImageLoopError(
                f"expected versions of one preprocessing ({first.preprocessing_version}), got one of {info.preprocessing_version}"
            )
    return first.model_copy(update={"side_pixels": max(info.side_pixels for info in infos)})
