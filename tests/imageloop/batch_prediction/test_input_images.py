import json
import os
from pathlib import Path

import pandas as pd
import pytest

from imageloop.batch_prediction.input_images import list_images, read_content
from imageloop.batch_prediction.settings import BatchPredictionSettings
from imageloop.errors import ImageLoopError, SettingsError


def test_a_folder_gives_its_visible_files_and_an_image_itself(draw_folder):
    folder = draw_folder(cat=2, dog=1)
    (folder / ".hidden.png").write_bytes(b"x")

    images = list_images([str(folder), str(folder / "cat" / "0.png")])

    assert images["path"].tolist() == [str(folder / name) for name in ("cat/0.png", "cat/1.png", "dog/0.png")]
    assert images["size"].tolist() == [Path(path).stat().st_size for path in images["path"]]


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl", "parquet"])
def test_manifests_name_images_from_their_own_folder_on(draw_folder, ending):
    folder = draw_folder(cat=2)
    names = ["cat/1.png", str(folder / "cat/0.png"), "cat/gone.png", "memory://bucket/far.png"]
    manifest = folder / f"list.{ending}"
    table = pd.DataFrame({"path": names, "owner": "a"})
    match ending:
        case "txt":
            manifest.write_text("\n".join(names) + "\n\n")
        case "csv":
            table.to_csv(manifest)
        case "jsonl":
            manifest.write_text("".join(f"{json.dumps(row)}\n" for row in table.to_dict("records")))
        case _:
            table.to_parquet(manifest)

    images = list_images([str(manifest)])

    assert images["path"].tolist() == [*(str(folder / name) for name in ("cat/1.png", "cat/0.png", "cat/gone.png")), names[-1]]
    assert images["size"].tolist()[2:] == [-1, -1]


def test_a_bucket_gives_its_objects_and_their_bytes(draw_folder):
    import fsspec

    files = fsspec.filesystem("memory")
    content = (draw_folder(cat=1) / "cat" / "0.png").read_bytes()
    for name in ("b.png", "a/c.png", ".trash/d.png"):
        files.pipe_file(f"/bucket/images/{name}", content)

    images = list_images(["memory://bucket/images"])

    assert images["path"].tolist() == ["memory:///bucket/images/a/c.png", "memory:///bucket/images/b.png"]
    assert images["size"].tolist() == [len(content)] * 2
    assert read_content(images["path"][0], 10**6) == content
    assert len(read_content(images["path"][0], 100)) == 101  # enough to see that it is too large
    files.rm("/bucket", recursive=True)


def test_a_name_that_is_not_utf_8_has_a_row(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x")

    images = list_images([str(tmp_path / "images")])

    images.to_parquet(tmp_path / "list.parquet")
    assert images["path"][0].endswith("caf\\udce9.png")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: [], "expected images, folders or a manifest, got none"),
        (lambda folder: [str(folder / "nowhere")], "expected an image or a folder, got nothing at"),
        (lambda folder: [str(folder / "none.csv")], "expected a manifest, got nothing at"),
        (lambda folder: [str(folder)], "expected images at .* got no file"),
        (lambda folder: [_file(folder / "a.csv", "image,owner\na,b\n")], "expected a column 'path' in .* got: image, owner"),
        (
            lambda folder: [_file(folder / "b.csv", "path,owner\na,b\n,c\n")],
            "expected a path in each row of .* got none in row 2",
        ),
        (lambda folder: [_file(folder / "c.jsonl", "{no json")], "expected to read .* got JSONDecodeError"),
        (lambda folder: [_file(folder / "d.parquet", "no parquet")], "expected to read .* got"),
        (lambda folder: ["memory://nowhere/at-all"], "expected to read 'memory://nowhere/at-all', got FileNotFoundError"),
        (
            lambda folder: ["gopher://nowhere/at-all"],
            "expected to read 'gopher://nowhere/at-all', got ValueError: Protocol not known",
        ),
    ],
)
def test_inputs_that_cannot_be_read_are_named(tmp_path, make, message):
    with pytest.raises(ImageLoopError, match=message):
        list_images(make(tmp_path))


def _file(path, text):
    path.write_text(text)
    return str(path)


def test_paths_are_those_of_the_folder_that_the_command_ran_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    settings = BatchPredictionSettings(inputs=["images", "s3://bucket/images"], output="out")

    assert settings.inputs == [str(tmp_path / "images"), "s3://bucket/images"]
    assert settings.output == str(tmp_path / "out")


def test_missing_inputs_are_a_wrong_setting():
    with pytest.raises(SettingsError):
        list_images([])
