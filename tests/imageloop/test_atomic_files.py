import pytest

from imageloop.atomic_files import replacing


@pytest.mark.parametrize("name", ["a", "x" * 255, "猫" * 85])
def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path, name):
    with replacing(tmp_path / name) as aside:
        aside.write_text("whole")

    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "whole"
