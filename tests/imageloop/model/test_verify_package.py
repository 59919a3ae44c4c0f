"""A package is verified by another process, once for the same bytes."""

import subprocess

import pytest

from imageloop.model import verify_package
from imageloop.model.package import PackageError
from imageloop.model.signing import private_key, public_key, sign
from imageloop.model.verify_package import verified_once
from tests.imageloop.model.test_package import package, unsigned  # noqa: F401


@pytest.fixture
def verifications(monkeypatch):
    """How often another process was started."""
    started = []
    run = subprocess.run

    def counted(command, **options):
        started.append(command)
        return run(command, **options)

    monkeypatch.setattr(verify_package.subprocess, "run", counted)
    return started


def test_the_same_bytes_are_verified_once(package, workspace, verifications):  # noqa: F811
    key = public_key(workspace.keys)
    assert [verified_once(package, key).class_names for _ in range(3)] == [["cat", "dog"]] * 3
    assert len(verifications) == 1
    (package / "model_card.md").write_text("# another card")
    sign(package, private_key(workspace.keys))
    verified_once(package, key)
    assert len(verifications) == 2


@pytest.mark.parametrize("change", ["a byte", "a new file", "the key"])
def test_what_changed_since_is_verified_again_and_refused(package, workspace, verifications, tmp_path, change):  # noqa: F811
    key = tmp_path / "signing.pub"
    key.write_bytes(public_key(workspace.keys).read_bytes())
    verified_once(package, key)
    if change == "a byte":
        with (package / "model.onnx").open("r+b") as file:
            file.write(b"\0")
    elif change == "a new file":
        (package / "more.onnx").write_bytes(b"more")
    else:
        private_key(tmp_path / "others")
        key.write_bytes(public_key(tmp_path / "others").read_bytes())
    for _ in range(2):
        with pytest.raises(PackageError):
            verified_once(package, key)
    assert len(verifications) == 3
