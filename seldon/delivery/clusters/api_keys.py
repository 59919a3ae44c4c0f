"""API keys of callers and their scopes, for the gateway of every cluster."""

import os
import re

from pydantic import Field

from imageloop.errors import SettingsError
from imageloop.settings import Settings

KEYS_VARIABLE = "IMAGELOOP_API_KEYS"
SCOPES = ("predict", "feedback", "metrics", "try")  # `try`: to choose the predictor of a request, whatever its weight
SITE = "imageloop.site"  # the name of the smoke tests' own key
MIN_KEY_LENGTH = 16
HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


class ApiKey(Settings):
    """A caller's name, the scopes of its key, and the key itself, which is never printed."""

    name: str = Field(pattern=r"^[\w.-]{1,40}$")
    scopes: tuple[str, ...]
    key: str = Field(min_length=MIN_KEY_LENGTH, repr=False)


def read_keys() -> list[ApiKey]:
    """Read `IMAGELOOP_API_KEYS`: entries `name:scope+scope:key`, separated by semicolons.

    Raises: SettingsError, whose message never holds a key.
    """
    entries = [entry.strip() for entry in os.environ.get(KEYS_VARIABLE, "").split(";") if entry.strip()]
    found = [_read_key(number, entry) for number, entry in enumerate(entries, 1)]
    # Scopes belong to a name, so each of its keys would have them all; and Envoy rejects a configuration with a key twice.
    for what, values in (("name", [one.name for one in found]), ("key", [one.key for one in found])):
        twice = [number for number, value in enumerate(values, 1) if value in values[: number - 1]]
        if twice:
            raise SettingsError(
                f"{KEYS_VARIABLE}, entry {twice[0]}: expected each name and each key once, got a {what} of an earlier entry; give one entry "
                "all its scopes, as name:predict+feedback:key"
            )
    return found


def _read_key(number: int, entry: str) -> ApiKey:
    name, _, rest = entry.partition(":")
    scopes, _, key = rest.partition(":")
    found = tuple(scopes.split("+"))
    if not re.fullmatch(r"[\w.-]{1,40}", name) or name == SITE or not set(found) <= set(SCOPES) or len(key) < MIN_KEY_LENGTH:
        raise SettingsError(
            f"{KEYS_VARIABLE}, entry {number}: expected name:scopes:key with scopes of {'+'.join(SCOPES)} and a key of "
            f"{MIN_KEY_LENGTH} or more characters, got something else"
        )
    if not HEADER_VALUE.fullmatch(key):
        raise SettingsError(
            f"{KEYS_VARIABLE}, entry {number}: expected a key that a header can carry (printable ASCII, no blank at its ends), got a line break, "
            "a control character or another alphabet; a file that was read with its line end has one"
        )
    return ApiKey(name=name, scopes=found, key=key)
