"""Name a file that is no image that we read, by its first bytes, and say what to do with it."""

import re
from typing import NamedTuple

HEAD_BYTES = 512
START_OF_FRAME = re.compile(rb"[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]")

USUAL_FRAMES = (b"\xc0", b"\xc1", b"\xc2")  # baseline, extended, progressive


class FileKind(NamedTuple):
    """`is_image`: an image in a format that we do not read; something else otherwise."""

    name: str
    remedy: str
    is_image: bool = False


AS_JPEG = "save it as JPEG or PNG"
AS_EIGHT_BITS = "save it as JPEG or PNG with 8 bits"
AS_FRAMES = "extract frames as JPEG"
STARTS: tuple[tuple[bytes, FileKind], ...] = (
    (b"version https://git-lfs", FileKind("a Git LFS pointer", "run `git lfs pull` in the repository that it is from")),
    (b"%PDF", FileKind("a PDF document", "export its pages as images")),
    (b"PK\x03\x04", FileKind("a zip file", "unpack it, or name it as the source")),
    (b"\x1f\x8b", FileKind("a gzip file", "unpack it")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7z file", "unpack it")),
    (b"Rar!", FileKind("a RAR file", "unpack it")),
    (b"\x1a\x45\xdf\xa3", FileKind("a video (Matroska or WebM)", AS_FRAMES)),
    (b"\x00\x00\x01\xba", FileKind("a video (MPEG)", AS_FRAMES)),
    (b"\x00\x00\x01\xb3", FileKind("a video (MPEG)", AS_FRAMES)),
    (b"FLV\x01", FileKind("a video (FLV)", AS_FRAMES)),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", FileKind("a video (WMV)", AS_FRAMES)),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", FileKind("JPEG XL", AS_JPEG, is_image=True)),
    (b"\xff\x0a", FileKind("JPEG XL", AS_JPEG, is_image=True)),
    (b"8BPS", FileKind("a Photoshop document", AS_JPEG, is_image=True)),
    (b"SIMPLE  =", FileKind("FITS", AS_EIGHT_BITS, is_image=True)),
    (b"\x76\x2f\x31\x01", FileKind("OpenEXR", AS_EIGHT_BITS, is_image=True)),
    (b"#?RADIANCE", FileKind("Radiance HDR", AS_EIGHT_BITS, is_image=True)),
    (b"FUJIFILMCCD-RAW", FileKind("a camera's raw file", AS_JPEG, is_image=True)),
    (b"II\x2b\x00", FileKind("BigTIFF", AS_JPEG, is_image=True)),
    (b"MM\x00\x2b", FileKind("BigTIFF", AS_JPEG, is_image=True)),
    (b"\x00\x00\x01\x00", FileKind("an icon (ICO)", AS_JPEG, is_image=True)),
    (b"%!PS", FileKind("PostScript", AS_JPEG, is_image=True)),
    (b"\xd7\xcd\xc6\x9a", FileKind("a Windows metafile", AS_JPEG, is_image=True)),
    (b"PAR1", FileKind("a Parquet table", "unpack its images into class folders")),
    (b"SQLite format 3", FileKind("an SQLite database", "export its images as files")),
    (b"\x89HDF\r\n\x1a\n", FileKind("an HDF5 file", "export its images as files")),
    (b"\x93NUMPY", FileKind("a NumPy array", "save its images as PNG")),
    (b"\x80\x04\x95", FileKind("a Python pickle", "save its images as PNG")),
)
MARKS = ((8, b"AVI ", FileKind("a video (AVI)", AS_FRAMES)), (128, b"DICM", FileKind("DICOM", AS_EIGHT_BITS, is_image=True)))
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # of the ISO base media format
BRANDS = {
    **dict.fromkeys(HEIC_BRANDS, FileKind("HEIC that cannot be read", AS_JPEG, is_image=True)),
    **dict.fromkeys((b"avif", b"avis"), FileKind("AVIF that cannot be read", AS_JPEG, is_image=True)),
    b"crx ": FileKind("a camera's raw file", AS_JPEG, is_image=True),
}
VIDEO = FileKind("a video (MP4 or MOV)", AS_FRAMES)
TEXTS = (
    (re.compile(rb"<svg[\s>]", re.IGNORECASE), FileKind("an SVG drawing", "render it to PNG", is_image=True)),
    (re.compile(rb"<!doctype html|<html[\s>]", re.IGNORECASE), FileKind("an HTML page", "download the image itself; a login page may have come instead")),
    (re.compile(rb"^\s*[\[{]"), FileKind("JSON text", "name a file that holds an image")),
    (re.compile(rb"^\s*<\?xml"), FileKind("XML text", "name a file that holds an image")),
)  # fmt: skip


def is_heic(content: bytes) -> bool:
    """Whether a file says that it is HEIC."""
    return _brand(content) in HEIC_BRANDS


def _brand(content: bytes) -> bytes | None:
    """The brand of a file in the ISO base media format; None for any other."""
    return content[8:12].lower() if content[4:8] == b"ftyp" else None


def kind_of(content: bytes) -> FileKind:
    """Name what a file is that could not be opened as an image."""
    if not content:
        return FileKind("an empty file", "send the original")
    for start, kind in STARTS:
        if content.startswith(start):
            return kind
    if (brand := _brand(content)) is not None:
        return BRANDS.get(brand, VIDEO)
    return _by_structure(content) or FileKind(
        "no format that we know", "send JPEG, PNG, GIF, WebP, BMP, TIFF, PPM, HEIC, AVIF or JPEG 2000"
    )


def _by_structure(content: bytes) -> FileKind | None:
    for start, mark, kind in MARKS:
        if content[start : start + len(mark)] == mark:
            return kind
    if content[:2] == b"\xff\xd8":
        return _jpeg_kind(content)
    if content[:4] in (b"II*\x00", b"MM\x00*"):
        return FileKind(
            "TIFF of a kind that we do not read, such as floating-point colours or a camera's raw file",
            AS_EIGHT_BITS,
            is_image=True,
        )
    return _text_kind(content[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf"))


def _text_kind(head: bytes) -> FileKind | None:
    for pattern, kind in TEXTS:
        if pattern.search(head):
            return kind
    if b"\0" not in head and head.isascii() and head.strip():
        return FileKind("plain text", "name a file that holds an image")
    return None


def _jpeg_kind(content: bytes) -> FileKind | None:
    """By the frame header: its marker names the process, and the byte after its length the bits of a sample."""
    place = 2
    while place + 4 < len(content) and content[place] == 0xFF:
        marker, length = content[place + 1 : place + 2], int.from_bytes(content[place + 2 : place + 4], "big")
        if START_OF_FRAME.match(marker):
            bits = content[place + 4]
            if bits != 8:
                return FileKind(f"JPEG with {bits} bits", AS_EIGHT_BITS, is_image=True)
            if marker not in USUAL_FRAMES:
                return FileKind("JPEG of a rare kind (lossless or arithmetic coding)", AS_JPEG, is_image=True)
            return None
        place += 2 + max(2, length)
    return None
