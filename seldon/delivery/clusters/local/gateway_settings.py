"""How the gateway is reached, and by whom."""

import os
import re
from ipaddress import ip_address

from pydantic import Field, field_validator, model_validator

from imageloop.errors import SettingsError
from imageloop.settings import Settings

KEYS_VARIABLE = "IMAGELOOP_API_KEYS"
RIGHTS = ("predict", "feedback", "metrics", "try")  # the last: to be answered by a predictor of one's choice, whatever its weight
SITE = "imageloop.site"  # whose key the smoke tests have
LOOPBACK = ("127.0.0.1", "localhost", "::1")
MIN_KEY_LENGTH = 16


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class ApiKey(Settings):
    name: str = Field(pattern=r"^[\w.-]{1,40}$")
    rights: tuple[str, ...]
    key: str = Field(min_length=MIN_KEY_LENGTH, repr=False)


class GatewaySettings(Settings):
    """What the stack file may say of the gateway; keys come from the environment alone."""

    host: str = Field("127.0.0.1", description="beyond loopback only with keys")
    port: int = Field(8080, ge=0, le=65535, description="another one that is free where this one is taken")
    tls_certificate: str | None = None
    tls_key: str | None = None
    requests_per_second: int | None = Field(None, ge=1, description="for all callers together; more are answered with 429")
    max_body_bytes: int = Field(20 * 2**20, ge=1)

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        if host != "localhost":
            ip_address(host)  # a ValueError says what it found
        return host

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "GatewaySettings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("wanted both tls_certificate and tls_key, or neither")
        return self

    def check(self, keys: list[ApiKey]) -> None:
        """Raises: SettingsError where anyone on the network could call."""
        if self.host not in LOOPBACK and not keys:
            raise SettingsError(
                f"wanted keys for a gateway at '{self.host}', found none; set {KEYS_VARIABLE} to name:predict+feedback:key, or serve on 127.0.0.1"
            )


def read_keys() -> list[ApiKey]:
    """`IMAGELOOP_API_KEYS`: entries `name:right+right:key`, parted by semicolons.

    Raises: SettingsError; a key is never repeated in its words.
    """
    entries = [entry.strip() for entry in os.environ.get(KEYS_VARIABLE, "").split(";") if entry.strip()]
    found = [_read_key(number, entry) for number, entry in enumerate(entries, 1)]
    # Rights are the name's, so each of its keys would have them all; and of a key that stands twice the gateway takes nothing new.
    for what, values in (("name", [one.name for one in found]), ("key", [one.key for one in found])):
        twice = [number for number, value in enumerate(values, 1) if value in values[: number - 1]]
        if twice:
            raise SettingsError(
                f"{KEYS_VARIABLE}, entry {twice[0]}: wanted each name and each key once, found a {what} that stands before it; give one entry "
                "all its rights, as name:predict+feedback:key"
            )
    return found


def _read_key(number: int, entry: str) -> ApiKey:
    name, _, rest = entry.partition(":")
    rights, _, key = rest.partition(":")
    found = tuple(rights.split("+"))
    if not re.fullmatch(r"[\w.-]{1,40}", name) or name == SITE or not set(found) <= set(RIGHTS) or len(key) < MIN_KEY_LENGTH:
        raise SettingsError(
            f"{KEYS_VARIABLE}, entry {number}: wanted name:rights:key with rights of {'+'.join(RIGHTS)} and a key of "
            f"{MIN_KEY_LENGTH} or more characters, found something else"
        )
    return ApiKey(name=name, rights=found, key=key)
