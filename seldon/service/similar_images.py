"""What an explanation says of the training images that resemble an image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageloop.embeddings.training_examples import TrainingExamples
from imageloop.html_pages import data_uri

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
                "thumbnail": data_uri(one.thumbnail, "image/jpeg"),
            }
            for one in examples.nearest(embedding_D, NUM_SIMILAR)
        ]
    }
