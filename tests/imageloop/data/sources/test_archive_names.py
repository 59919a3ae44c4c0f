import io
import struct
import tarfile
import zipfile
import zlib

import pytest

from imageloop.data.sources.archive import unpack
from imageloop.data.sources.archive_names import decoder
from imageloop.errors import ImageLoopError

CASES = [
    ("gbk", ["宠物/狗/1.jpg", "宠物/猫/2.jpg"]),
    ("gb18030", ["花/玫瑰/1.jpg", "花/向日葵/2.jpg", "花/郁金香/a.jpg"]),
    ("gbk", ["汽车/1.jpg", "飞机/2.jpg", "轮船/3.jpg"]),
    ("gbk", ["猫/1", "狗/1"]),
    ("gbk", ["苹果/1", "香蕉/2", "橙子/3"]),
    ("cp932", ["犬/1.jpg", "猫/2.jpg"]),
    ("shift_jis", ["ペット/いぬ/1.jpg", "ペット/ねこ/2.jpg"]),
    ("cp932", ["りんご/1", "バナナ/2", "葡萄/3"]),
    ("cp932", ["良品/1", "不良品/2"]),
    ("cp866", ["кошки/1.jpg", "собаки/1.jpg"]),
    ("cp1251", ["кошки/1.jpg", "собаки/2.jpg"]),
    ("cp1251", ["Кошки/1.jpg", "СОБАКИ/2.jpg"]),
    ("cp866", ["Яблоко/1.jpg", "Груша/2.jpg"]),
    ("cp850", ["Hündchen/1.jpg", "Kätzchen/2.jpg"]),
    ("cp1252", ["été/1.jpg", "chiens errants à vélo/2.jpg"]),
    ("cp850", ["Äpfel/1.jpg", "Öl/2.jpg"]),
    ("cp1252", ["Äpfel/1.jpg", "Öl/2.jpg"]),
    ("cp1252", ["Vögel/1.jpg", "Käfer/2.jpg"]),
    ("cp850", ["été/1.jpg", "noël/2.jpg"]),
    ("cp1252", ["niño/1", "piñón/2"]),
    ("big5", ["貓/1.jpg", "狗/2.jpg"]),
    ("cp949", ["고양이/1.jpg", "강아지/2.jpg"]),
    ("cp949", ["사과/1", "바나나/2"]),
    ("cp1250", ["łódź/1.jpg", "żaba/2.jpg"]),
    ("cp852", ["łódź/1.jpg", "żaba/2.jpg"]),
]


@pytest.mark.parametrize(("encoding", "names"), CASES)
def test_names_are_read_in_the_code_page_of_their_author(encoding, names):
    raw = [name.encode(encoding) for name in names]

    decode = decoder(raw, None)

    assert [decode(name) for name in raw] == names


def test_names_that_read_in_two_ways_are_an_error_with_both():
    with pytest.raises(ImageLoopError, match=r"read in one way, got .*: .*data.source.encoding="):
        decoder(["大/1.jpg".encode("gbk")], None)


def zip_of(names: list[bytes], extra: dict[bytes, bytes] | None = None) -> bytes:
    """A zip file whose names are in no declared code page, as other systems write them."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for number, name in enumerate(names):
            entry = zipfile.ZipInfo(chr(97 + number) * len(name))
            entry.extra = (extra or {}).get(name, b"")
            archive.writestr(entry, f"content {number}")
    content = written.getvalue()
    for number, name in enumerate(names):  # `zipfile` writes the flag of UTF-8 for all names that are not ASCII
        content = content.replace(bytes([97 + number]) * len(name), name, 2)
    return content


def unpacked(content: bytes, tmp_path, ending: str, encoding: str | None = None) -> set[str]:
    (tmp_path / f"a{ending}").write_bytes(content)
    unpack(tmp_path / f"a{ending}", tmp_path / "out", 100, 2**20, encoding)
    return {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_a_zip_file_of_a_chinese_windows_is_unpacked_with_its_names(tmp_path):
    names = ["宠物/狗/1.jpg", "宠物/猫/22.jpg"]

    assert unpacked(zip_of([name.encode("gbk") for name in names]), tmp_path, ".zip") == set(names)


def test_the_unicode_path_beside_a_name_counts(tmp_path):
    raw = "кот/1.jpg".encode("cp866")
    body = b"\1" + struct.pack("<I", zlib.crc32(raw)) + "кот/1.jpg".encode()

    found = unpacked(zip_of([raw], {raw: struct.pack("<HH", 0x7075, len(body)) + body}), tmp_path, ".zip")

    assert found == {"кот/1.jpg"}


def test_the_setting_decides_and_is_checked(tmp_path):
    content = zip_of(["été/1.jpg".encode("cp1252")])

    assert unpacked(content, tmp_path, ".zip", "cp1252") == {"été/1.jpg"}
    with pytest.raises(ImageLoopError, match=r"correct data.source.encoding"):
        unpacked(content, tmp_path, ".zip", "utf-8")


def test_a_tar_file_is_read_alike(tmp_path):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz", encoding="cp932", format=tarfile.GNU_FORMAT) as archive:
        for name in ("良品/1.jpg", "不良品/2.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"abc"))

    assert unpacked(written.getvalue(), tmp_path, ".tar.gz") == {"良品/1.jpg", "不良品/2.jpg"}
