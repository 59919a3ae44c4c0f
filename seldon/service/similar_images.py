"""What an explanation says of the training images that resemble an image."""

from base64 import b64encode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageloop.embeddings.training_examples import TrainingExamples

NUM_SIMILAR = 5


def similar_images(examples: TrainingExamples | None, embedding_D: NDArray[np.float32]) -> dict[str, Any]:
    """The part `similar` of a response; nothing where the package holds no thumbnails."""
    if examples is None:
        return {}
    return {
        "similar": [
            {
                "label": one.label,
                "distance": round(one.distance, 4),
                "thumbnail": f"data:image/jpeg;base64,{b64encode(one.thumbnail).decode()}",
            }
            for one in examples.nearest(embedding_D, NUM_SIMILAR)
        ]
    }
