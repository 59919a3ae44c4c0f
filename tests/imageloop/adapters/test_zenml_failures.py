import errno

from imageloop.adapters.zenml_failures import disk_is_full, failed_step
from imageloop.errors import ImageLoopError


def chained(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except Exception as inner:
            raise RuntimeError("Pipeline run has failed") from inner
    except RuntimeError as outer:
        return outer


def test_the_sentence_is_found_below_the_errors_of_others():
    assert str(failed_step(chained(ImageLoopError("do this")))) == "do this"


def test_a_full_disk_has_a_sentence_of_its_own():
    assert "free some" in str(failed_step(chained(OSError(errno.ENOSPC, "No space left on device"))))


def test_a_disk_with_room_is_not_full(tmp_path):
    assert not disk_is_full(tmp_path)


def test_a_defect_of_ours_has_none():
    assert failed_step(chained(KeyError("x"))) is None
