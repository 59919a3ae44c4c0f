import json
from types import SimpleNamespace

import pytest

from imageloop.errors import ImageLoopError
from imageloop.lifecycle import candidate as candidates
from imageloop.lifecycle.candidate import check_same_classes
from imageloop.model.package import PackageError
from imageloop.promotion.step_artifacts import Candidate

CLASSES = {"1": ["ant", "bee"], "2": ["bee", "ant"], "3": ["ant", "cat"]}


@pytest.fixture
def registry(tmp_path, monkeypatch):
    for version, names in CLASSES.items():
        (tmp_path / version).mkdir()
        description = {
            "class_names": names, "side_pixels": 224, "preprocessing_version": "1", "model_kind": "transfer", "backbone": "b",
            "temperature": 1.0, "seed": 7, "data_version": "d", "git_commit": "", "run_id": "", "created_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        (tmp_path / version / "model.json").write_text(json.dumps(description))

    def package(version: str):
        if version not in CLASSES:
            raise PackageError("its files are gone")
        return tmp_path / version

    def class_names(version: str) -> list[str]:
        package(version)
        return CLASSES[version]

    monkeypatch.setattr(candidates, "ModelRegistry", lambda _name: SimpleNamespace(class_names=class_names))
    return package


def candidate(version: str) -> Candidate:
    return Candidate(model_name="pets", version=version, uri="", run_id="")


def test_a_version_with_other_classes_does_not_take_over_unasked(registry):
    check_same_classes(candidate("2"), registry("2"), "pets", "1")
    with pytest.raises(ImageLoopError, match=r"added 'cat' and removed 'bee'.*--version 3 --allow-class-change"):
        check_same_classes(candidate("3"), registry("3"), "pets", "1")


def test_a_served_version_whose_package_is_gone_blocks_no_deployment(registry):
    check_same_classes(candidate("3"), registry("3"), "pets", "99")
