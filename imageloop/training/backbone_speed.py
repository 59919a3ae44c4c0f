"""How long a backbone takes for one image on this machine."""

import time
from functools import cache

import numpy as np

from imageloop.data.preprocessing import UInt8Array
from imageloop.model.onnx_session import open_session
from imageloop.model.package import INPUT, JOINED_BY
from imageloop.training.features import exported_backbone
from imageloop.usable_cores import usable_cores
from imageloop.workspace_paths import Workspace

NUM_TIMED = 15  # images, after one that is not timed


@cache
def milliseconds_of_image(backbone: str, side: int, workspace: Workspace) -> float:
    """The time of one image through a backbone on the cores of this process, a median; of joined ones the sum."""
    names = list(dict.fromkeys(backbone.split(JOINED_BY)))
    if len(names) > 1:
        return sum(milliseconds_of_image(name, side, workspace) for name in names)
    image_1SSC: UInt8Array = np.zeros((1, side, side, 3), np.uint8)
    session = open_session(exported_backbone(backbone, side, workspace.backbones), usable_cores())
    session.run(["embedding"], {INPUT: image_1SSC})
    times = []
    for _ in range(NUM_TIMED):
        started = time.perf_counter()
        session.run(["embedding"], {INPUT: image_1SSC})
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000
