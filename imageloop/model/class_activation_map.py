"""Draw the class activation map of a prediction over its image. The map itself is an output of the ONNX model (onnx_export.py)."""

import numpy as np
from PIL import Image, ImageDraw

from imageloop.data.preprocessing import UInt8Array, preprocess
from imageloop.model.predictor import Predictor

OPACITY = 0.55


def draw_heat_map(predictor: Predictor, content: bytes) -> Image.Image:
    """The square that the model sees beside the same with its heat map, and the prediction below.

    Raises: ImageRefusedError.
    """
    side = predictor.info.side_pixels
    prediction, heat_hw = predictor.explain(content)
    seen = Image.fromarray(preprocess(content, side, predictor.limits))
    heat = Image.fromarray((heat_hw * 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    heated = Image.blend(seen, Image.fromarray(_colours()[np.asarray(heat)]), OPACITY)
    canvas = Image.new("RGB", (2 * side, side + 20), "white")
    canvas.paste(seen, (0, 0))
    canvas.paste(heated, (side, 0))
    ImageDraw.Draw(canvas).text((4, side + 4), f"{prediction.label} {prediction.probability:.1%}", fill="black")
    return canvas


def _colours() -> UInt8Array:
    """Make the colour scale from blue (no evidence) over yellow to red, (256, 3)."""
    x = np.linspace(0, 1, 256)[:, None]
    anchors = np.array([[0.0, 0.1, 0.6], [0.2, 0.8, 0.8], [1.0, 0.9, 0.2], [0.85, 0.1, 0.1]])
    channels = [np.interp(x[:, 0], np.linspace(0, 1, len(anchors)), anchors[:, channel]) for channel in range(3)]
    return (np.stack(channels, axis=1) * 255).astype(np.uint8)
