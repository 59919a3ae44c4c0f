from datetime import UTC, datetime

from imageloop.batch_prediction.settings import BatchPredictionSettings


def test_the_day_of_a_run_stands_in_inputs_and_output():
    settings = BatchPredictionSettings(inputs=["s3://shop/{date}", "/images/all"], output="s3://predictions/{date}/cats")

    of_day = settings.of_day(datetime(2026, 11, 30, 23, 59, tzinfo=UTC))

    assert (of_day.inputs, of_day.output) == (["s3://shop/2026-11-30", "/images/all"], "s3://predictions/2026-11-30/cats")
    assert BatchPredictionSettings(inputs=["/images"]).of_day(datetime.now(UTC)).output is None
