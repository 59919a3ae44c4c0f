"""List the images of a batch prediction."""

from typing import Annotated

import pandas as pd
from zenml import log_metadata, step

from imageloop.batch_prediction.input_images import list_images as list_inputs
from imageloop.batch_prediction.settings import BatchPredictionSettings
from materializers.batch_prediction import ImageListMaterializer
from steps.prediction.run_inputs import of_this_run, offer_retained_inputs


@step(enable_cache=False, output_materializers={"images": ImageListMaterializer})
def list_images(settings: BatchPredictionSettings) -> Annotated[pd.DataFrame, "images"]:
    """List every file of the inputs with its size and its time, or the ETag that a bucket has for it."""
    offer_retained_inputs()
    inputs = of_this_run(settings).inputs
    images = list_inputs(inputs)
    log_metadata({"images": len(images), "inputs": inputs})
    return images
