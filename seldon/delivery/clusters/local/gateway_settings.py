"""Settings of the local gateway: its address, TLS and limits."""

from ipaddress import ip_address

from pydantic import Field, field_validator, model_validator

from imageloop.errors import SettingsError
from imageloop.settings import Settings
from seldon.delivery.clusters.api_keys import KEYS_VARIABLE, ApiKey

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class GatewaySettings(Settings):
    """Settings of the gateway in a stack file; keys are read from the environment only."""

    host: str = Field("127.0.0.1", description="an address beyond loopback needs API keys")
    port: int = Field(8080, ge=0, le=65535, description="another free port is used where this one is taken")
    tls_certificate: str | None = None
    tls_key: str | None = None
    requests_per_second: int | None = Field(None, ge=1, description="total of all callers; more get 429")
    max_body_bytes: int = Field(50 * 2**20, ge=1)
    sticky_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="name of a header with an id of the end user: the same id gets the same predictor while weights stay as they are",
    )
    traces: str | None = Field(
        None,
        pattern=r"^http://[^/:]+:\d+$",
        description="an OpenTelemetry receiver (OTLP over HTTP), as http://127.0.0.1:4318: each request is a span of the gateway",
    )

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        if host != "localhost":
            ip_address(host)  # raises ValueError with what it got
        return host

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "GatewaySettings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("expected both tls_certificate and tls_key, or neither")
        return self

    def check(self, keys: list[ApiKey]) -> None:
        """Raises: SettingsError where anyone on the network could call."""
        if self.host not in LOOPBACK and not keys:
            raise SettingsError(
                f"expected keys for a gateway at '{self.host}', got none; set {KEYS_VARIABLE} to name:predict+feedback:key, or serve on 127.0.0.1"
            )
