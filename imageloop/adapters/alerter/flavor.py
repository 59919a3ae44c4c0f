"""The ZenML flavor `imageloop_alerter`. Imports nothing heavy: ZenML loads flavors to show them."""

from typing import TYPE_CHECKING

from pydantic import Field
from zenml.alerter.base_alerter import BaseAlerterConfig, BaseAlerterFlavor

if TYPE_CHECKING:
    from imageloop.adapters.alerter.alerter import Alerter


class AlerterConfig(BaseAlerterConfig):
    """Says where alerts go. A webhook in Slack's form is a secret: it comes from IMAGELOOP_ALERT_WEBHOOK."""

    alertmanager: str = Field("", description="the address of Alertmanager; nothing is sent there where it is empty")
    lasts_minutes: float = Field(60.0, gt=0, description="an alert that is not repeated so long is over")


class AlerterFlavor(BaseAlerterFlavor):
    """Alertmanager, which forwards to Slack, PagerDuty and others, and a webhook."""

    @property
    def name(self) -> str:
        return "imageloop_alerter"

    @property
    def config_class(self) -> type[AlerterConfig]:
        return AlerterConfig

    @property
    def implementation_class(self) -> "type[Alerter]":
        from imageloop.adapters.alerter.alerter import Alerter

        return Alerter
