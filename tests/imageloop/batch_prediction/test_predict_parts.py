import io
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from PIL import Image

from imageloop.batch_prediction.batch_report import batch_report
from imageloop.batch_prediction.input_images import list_images
from imageloop.batch_prediction.job import BatchJob, open_output
from imageloop.batch_prediction.part_table import BatchModel
from imageloop.batch_prediction.predict_parts import PackageFiles, predict_parts
from imageloop.batch_prediction.settings import BatchPredictionSettings
from imageloop.batch_prediction.summary import BatchSummary, summarize
from imageloop.embeddings.novelty import Novelty
from imageloop.errors import ImageLoopError
from imageloop.execution_engine import ThisProcess
from imageloop.model.package import EXACT_MODEL, REFERENCE, WEIGHTS, PackageInfo
from imageloop.model.predictor import Predictor
from imageloop.model.signing import SignatureError, private_key, public_key, sign
from tests.seldon.conftest import SIDE, red_or_blue


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    onnx.save(red_or_blue(0.0, 0, SIDE), folder / EXACT_MODEL)
    info = PackageInfo(
        class_names=["red", "blue"], side_pixels=SIDE, preprocessing_version="1", model_kind="test", backbone="none", temperature=1.0,
        seed=1, data_version="d1", git_commit="none", run_id="r1", created_at=datetime.now(UTC),
    )  # fmt: skip
    info.write(folder)
    (folder / WEIGHTS).write_bytes(b"weights")
    (folder / REFERENCE).write_bytes(b"reference")
    return folder


@pytest.fixture
def model(package):
    predictor = Predictor.unsigned(package, threads=1)
    embeddings = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    return BatchModel(predictor, Novelty.of(embeddings, 2))


@pytest.fixture
def folder(tmp_path):
    """Seventy images of noise, a text, an empty file, and one that nobody may read or that is none."""
    rng = np.random.default_rng(1)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(70):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).save(images / f"{number:02d}.png")
    (images / "a text.jpg").write_text("no image")
    (images / "empty.png").touch()
    (images / "truncated.png").write_bytes((images / "00.png").read_bytes()[:100])
    return images


class Batch:
    """One batch prediction after another into the same folder."""

    def __init__(self, folder, model, output, **settings):
        self.settings = BatchPredictionSettings(inputs=[str(folder)], output=str(output), part_images=20, **settings)
        self.images, self.model = list_images(self.settings.inputs), model
        self.job = BatchJob.of(self.images, self.settings, model.predictor, "3")

    def run(self, name="run-1", engine=None, model=None):
        output = open_output(self.settings.output, self.job)
        given = (self.images, self.job, model or self.model, output, self.settings.max_sampled, name, engine or ThisProcess())
        return predict_parts(*given)

    def table(self):
        return pd.read_parquet(self.settings.output)

    def summary(self, package):
        return summarize(open_output(self.settings.output, self.job), self.job, package, self.settings.drift)


@pytest.fixture
def batch(folder, model, tmp_path):
    return Batch(folder, model, tmp_path / "out", max_sampled=10)


def test_each_file_has_a_row_and_the_prediction_of_the_predictor(batch, folder):
    done = batch.run()

    table = batch.table()
    assert (done.parts, done.images, done.kept_parts) == (4, 73, 0)
    assert table["path"].tolist() == batch.images["path"].tolist()
    bare = list(batch.model.predictor.predict_each(Path(path).read_bytes() for path in table["path"]))
    for row, prediction in zip(table.itertuples(), bare, strict=True):
        if isinstance(prediction, Exception):
            assert (row.label, row.reason) == (None, prediction.reason)
            assert np.isnan(row.p_red)
        else:
            assert (row.label, row.reason) == (prediction.label, None)
            assert (row.probability, row.p_red) == (
                np.float32(prediction.probability),
                np.float32(prediction.probabilities["red"]),
            )
            assert (row.width, row.height, row.format) == (50, 40, "PNG")
            assert row.novelty == pytest.approx(batch.model.novelty.distance(prediction.embedding_D[None])[0], abs=1e-6)
    assert sorted(table["reason"].dropna()) == ["damaged", "not_an_image", "not_an_image"]
    assert table["embedding"].notna().sum() == 10 - table["reason"].notna().iloc[[0, 8, 16, 24, 32, 40, 48, 56, 64, 72]].sum()
    assert set(table["run"]) == {"run-1"}
    assert set(table["model_version"]) == {"3"}


def test_what_was_interrupted_goes_on_and_keeps_whole_parts(batch, monkeypatch):
    import imageloop.batch_prediction.predict_parts as module

    real, calls = module.predict_table, []

    def twice_then_killed(*arguments):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(module, "predict_table", twice_then_killed)
    with pytest.raises(KeyboardInterrupt):
        batch.run("first")
    monkeypatch.setattr(module, "predict_table", real)

    done = batch.run("second")

    assert (done.parts, done.images, done.kept_parts) == (2, 33, 2)
    table = batch.table()
    assert table["path"].tolist() == batch.images["path"].tolist()
    assert table["run"].tolist() == ["first"] * 40 + ["second"] * 33
    assert batch.run("third").parts == 0


def test_a_file_that_vanishes_costs_its_row(batch, folder):
    (folder / "05.png").unlink()

    batch.run()

    row = batch.table().set_index("path").loc[str(folder / "05.png")]
    assert row["reason"] == "unreadable"
    assert row["detail"] == "cannot be read (No such file or directory)"


def test_another_job_and_a_strange_folder_are_refused(batch, folder, model, tmp_path):
    batch.run()
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    os.utime(folder / "03.png", (time.time(), 1))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").touch()

    with pytest.raises(
        ImageLoopError, match=r"predictions of the same images by the same model, got .* with 73 images by imageloop 3"
    ):
        Batch(folder, model, tmp_path / "out", max_sampled=10).run()
    with pytest.raises(ImageLoopError, match=r"expected a new folder, got .* with thesis.docx in it"):
        Batch(folder, model, tmp_path / "mine").run()
    (tmp_path / "file").touch()
    with pytest.raises(ImageLoopError, match=r"output: expected a folder, got the file"):
        Batch(folder, model, tmp_path / "file").run()

    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_the_summary_counts_what_the_parts_hold(batch, package):
    batch.run()

    summary = batch.summary(package)

    table = batch.table()
    assert summary.num_images == 73
    assert summary.refused == {"not_an_image": 2, "damaged": 1}
    assert summary.labels == table["label"].value_counts().to_dict()
    assert sum(summary.confidence) == 70
    assert [one.probability for one in summary.least_confident] == sorted(table["probability"].dropna())[:12]
    assert [one.novelty for one in summary.most_unusual] == sorted(table["novelty"].dropna(), reverse=True)[:12]
    assert summary.window is None  # ten sampled images are too few
    assert BatchSummary.of_dict(summary.as_dict()) == summary
    page = batch_report(summary)
    assert page.count("<img") == 24
    assert "70 of 73 images were predicted, 3 refused." in page


@pytest.mark.xdist_group("ray")
def test_a_cluster_gives_the_same_rows_although_a_machine_dies(folder, model, package, tmp_path, ray_cluster, ray_engine):
    here = Batch(
        folder, BatchModel(model.predictor, None), tmp_path / "here", max_sampled=10
    )  # as the package, which has no reference
    here.run()
    sign(package, private_key(tmp_path / "keys"))
    files = PackageFiles.of(package, public_key(tmp_path / "keys"), exact=False)
    there = Batch(folder, model, tmp_path / "there", max_sampled=10)
    joined = ray_cluster.join_and_wait()

    class Killing:
        """The engine of the cluster; after the first part a machine loses its power."""

        is_this_process = False

        def map(self, task, items):
            for result in ray_engine.map(task, items):
                yield result
                if joined.poll() is None:
                    ray_cluster.kill(joined)

    with pytest.raises(SignatureError):
        there.run(engine=ray_engine, model=replace(files, files=files.files | {EXACT_MODEL: b"changed on the way"}))

    done = there.run(engine=Killing(), model=files)

    assert (done.parts, done.images) == (4, 73)
    pd.testing.assert_frame_equal(there.table(), here.table(), check_exact=True)


def test_images_that_a_worker_cannot_read_are_named(batch, folder):
    for file in folder.iterdir():
        file.unlink()

    with pytest.raises(
        ImageLoopError, match=r"expected images that this machine .* can read, got none of the 20 of 'part-00000.parquet'"
    ):
        batch.run()


@pytest.mark.parametrize("damage", [lambda part: part.unlink(), lambda part: part.write_bytes(b"PAR1")])
def test_a_part_that_vanished_or_is_damaged_is_named_and_predicted_again(batch, package, tmp_path, damage):
    batch.run()
    part = tmp_path / "out" / "part-00001.parquet"
    damage(part)

    with pytest.raises(ImageLoopError, match=r"part-00001.parquet.*the same command predicts it again"):
        batch.summary(package)
    part.unlink(missing_ok=True)

    assert batch.run().images == 20
    assert batch.summary(package).num_images == 73


def test_a_class_of_any_name_and_no_novelty_reference(batch, folder, model, tmp_path):
    strange = model.predictor.info.model_copy(update={"class_names": ["a/b, c", "día\n"]})
    model.predictor.info = strange
    named = Batch(folder, BatchModel(model.predictor, None), tmp_path / "strange")

    named.run()

    table = named.table()
    assert {"p_a/b, c", "p_día\n"} <= set(table.columns)
    assert table["novelty"].isna().all()
    assert table["in_distribution"].isna().all()


def test_an_input_of_refused_files_alone_has_a_summary(tmp_path, model, package):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jpg").write_text("no image")
    batch = Batch(tmp_path / "texts", model, tmp_path / "out")
    batch.run()

    summary = batch.summary(package)

    assert (summary.num_images, summary.num_refused, summary.labels) == (1, 1, {})
    assert "0 of 1 images were predicted, 1 refused." in batch_report(summary)
    assert io.BytesIO((tmp_path / "out" / "part-00000.parquet").read_bytes()).read(4) == b"PAR1"
