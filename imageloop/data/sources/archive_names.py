"""The names in a zip or tar file as their author saw them, whatever system wrote them.

A zip file says of each name whether it is UTF-8, or has the name in Unicode beside it; if not, it is in the code page of its author's
system. All such names of an archive are decoded alike: by the setting `encoding`, as UTF-8 where all of them are, else in the code page
in which they read best. Libraries that detect encodings want sentences; folder names are a few letters, so the rules here are of words:
one script a word, letters and no symbols, capitals only first, frequent characters.
Source: APPNOTE.TXT of PKWARE, 4.4.4 bit 11 and 4.6.9 (Info-ZIP Unicode Path Extra Field).
"""

import itertools
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Sequence

from imageloop.errors import ImageLoopError

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
# In the order in which they are taken where names read equally well.
CODE_PAGES = ("gb18030", "cp932", "big5", "cp949", "cp1251", "cp866", "cp1252", "cp850", "cp1250", "cp852")
# The ranges of lead bytes in which each of them has its frequent characters.
FREQUENT_LEADS = {"gb18030": (0xB0, 0xD7), "cp932": (0x82, 0x97), "big5": (0xA4, 0xC6)}
FREQUENT_HANGUL = frozenset(
    "이다가는에을를의로하고지사도은기나자한어리해라시인대보일서아정들과여부수거장그있주전만상구스선오면유제소조마중원화요공경비성신무안내우식게연미"
    "국실모적방었용동세할물생강재말체당위개산단문반분치차파계관영양발금간입터때로되교더심트학명약실러작민회호행포천목코드년설래절니건과집견백"
)
UNLIKELY, ODD, RARE = 4.0, 2.0, 1.0  # a symbol or a mixture of scripts; a capital within a word; a rare character
MANY = 3  # different Hangul of which most are frequent: one of fifteen is, so that is no accident
CLEARLY = 0.15  # a character: by so much the best reading must be better than one in another script


def zip_names(entries: Sequence[zipfile.ZipInfo], encoding: str | None) -> list[str]:
    """The name of each entry.

    Raises: ImageLoopError where the code page is unknown.
    """
    raw = [_raw_name(entry) for entry in entries]
    decode = decoder([name for name in raw if isinstance(name, bytes)], encoding)
    return [decode(name) if isinstance(name, bytes) else name for name in raw]


def decoder(names: Sequence[bytes], encoding: str | None) -> Callable[[bytes], str]:
    """A function that decodes all of these names alike.

    Raises: ImageLoopError where the code page is unknown, or `encoding` does not fit.
    """
    for candidate in (encoding,) if encoding else ("utf-8",):
        try:
            for name in names:
                name.decode(candidate)
        except UnicodeDecodeError as error:
            if encoding:
                raise ImageLoopError(
                    f"expected names in {encoding}, got {error.object!r} in the archive; correct data.source.encoding"
                ) from error
        else:
            return lambda name: name.decode(candidate)
    best = _best_code_page(_parts(names))
    return lambda name: name.decode(best)


def _best_code_page(parts: Sequence[bytes]) -> str:
    """Raises: ImageLoopError where two code pages read equally well, with both readings."""
    text = b"\n".join(dict.fromkeys(parts))
    costs = {page: cost for page in CODE_PAGES if (cost := _cost(text, page)) is not None}
    ranked = sorted(costs, key=lambda page: (round(costs[page], 3), CODE_PAGES.index(page)))
    if not ranked:
        raise ImageLoopError("expected names in the archive in a known code page, got others; set data.source.encoding")
    best = ranked[0]
    rivals = [
        page
        for page in ranked[1:]
        if costs[page] - costs[best] < CLEARLY and _scripts(text.decode(page)) != _scripts(text.decode(best))
    ]
    if rivals or costs[best] >= ODD:
        readings = "; ".join(f"{page}: {', '.join(text.decode(page).splitlines()[:3])}" for page in (best, *rivals[:3]))
        raise ImageLoopError(
            f"expected names in the archive that read in one way, got {readings}; choose with --set data.source.encoding={best}"
        )
    return best


def _cost(text: bytes, page: str) -> float | None:
    """How badly names read in a code page, a character; None where they cannot be decoded."""
    try:
        decoded = text.decode(page)
    except UnicodeDecodeError:
        return None
    words = [word for word in re.split(r"[\s_.\-()\[\]0-9]+", decoded) if word and not word.isascii()]
    letters = [character for word in words for character in word if not character.isascii()]
    cost = sum(_cost_of_word(word, page) for word in words) / max(1, len(letters))
    frequent = sum(_is_frequent(character, page) for character in letters)
    is_korean = page == "cp949" and len(set(letters)) >= MANY and frequent >= 0.75 * len(letters)
    return cost - RARE if is_korean else cost


def _cost_of_word(word: str, page: str) -> float:
    scripts = _scripts(word)
    cost = 0.0
    if len(scripts) > 1:
        cost += RARE if scripts == {"CJK", "LATIN"} else UNLIKELY
    accented = sum(not character.isascii() for character in word)
    if scripts == {"LATIN"} and len(word) > 1 and accented > 0.7 * len(word):
        cost += ODD * accented
    for before, character in itertools.pairwise(" " + word):
        if character.isascii():
            continue
        if not unicodedata.category(character).startswith(("L", "M")) or "HALFWIDTH" in unicodedata.name(character, ""):
            cost += UNLIKELY
        elif character.isupper() and before.islower():
            cost += ODD
        elif not _is_frequent(character, page):
            cost += RARE
    return cost


def _is_frequent(character: str, page: str) -> bool:
    if page == "cp949":
        return character in FREQUENT_HANGUL
    if page not in FREQUENT_LEADS:
        return True
    low, high = FREQUENT_LEADS[page]
    encoded = character.encode(page)
    return len(encoded) == 2 and low <= encoded[0] <= high


def _scripts(text: str) -> set[str]:
    """The scripts of a text, Japanese as one: it mixes three."""
    names = {unicodedata.name(character, "?").split()[0] for character in text if unicodedata.category(character).startswith("L")}
    return {"CJK" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA") else name for name in names}


def _raw_name(entry: zipfile.ZipInfo) -> str | bytes:
    """The name where the entry says what it is, else its bytes, which `zipfile` has decoded as code page 437."""
    if entry.flag_bits & UTF8_FLAG:
        return entry.filename
    raw = entry.orig_filename.encode("cp437")
    return _unicode_path(entry.extra, raw) or (entry.filename if raw.isascii() else raw)


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The Unicode path of an entry's extra fields; None where there is none, or it belongs to another name."""
    while len(extra) >= 4:
        kind, length = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and len(body) > 5 and int.from_bytes(body[1:5], "little") == zlib.crc32(raw):
            return body[5:].decode(errors="replace")
    return None


def _parts(names: Sequence[bytes]) -> list[bytes]:
    """The parts of paths that are no plain ASCII: thousands of numbered files say nothing of a code page."""
    return [part for name in names for part in name.replace(b"\\", b"/").split(b"/") if not part.isascii()]
