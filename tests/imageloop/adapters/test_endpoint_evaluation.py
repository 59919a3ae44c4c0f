import fsspec
import pytest

from imageloop.adapters.endpoint_evaluation import folder_of
from imageloop.errors import SettingsError


def test_a_folder_elsewhere_is_copied_with_its_classes_and_gone_afterwards():
    files = fsspec.filesystem("memory")
    files.pipe({"/bucket/labelled/cat/1.jpg": b"cat", "/bucket/labelled/dog/2.jpg": b"dog"})

    with folder_of("memory://bucket/labelled/") as folder:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}

    assert found == {"cat/1.jpg": b"cat", "dog/2.jpg": b"dog"}
    assert not folder.exists()


def test_a_folder_of_this_machine_stays_where_it_is(tmp_path):
    with folder_of(str(tmp_path)) as folder:
        assert folder == tmp_path
    assert tmp_path.exists()


@pytest.mark.parametrize("address", ["memory://bucket/nothing", "nosuch://bucket/labelled"])
def test_an_unavailable_source_is_an_error_with_its_reason(address):
    with pytest.raises(SettingsError, match="expected the folder"), folder_of(address):
        pass
