"""What the steps of a batch prediction pass on."""

from pydantic import BaseModel, ConfigDict

from imageloop.batch_prediction.job import BatchJob


class BatchOutput(BaseModel):
    """Where the predictions of a job are. `parts` and `images` were predicted by this run, `kept_parts` by an earlier one."""

    model_config = ConfigDict(frozen=True)

    address: str
    job: BatchJob
    parts: int
    images: int
    kept_parts: int
