"""The alerter of a stack."""

from typing import Any, cast

from zenml.alerter.base_alerter import BaseAlerter, BaseAlerterStepParameters

from imageloop.adapters.alerter import messages
from imageloop.adapters.alerter.flavor import AlerterConfig


class Alerter(BaseAlerter):
    """Posts what the monitor decides, and the messages of ZenML's own steps."""

    @property
    def config(self) -> AlerterConfig:
        return cast("AlerterConfig", self._config)

    def post(self, message: str, params: BaseAlerterStepParameters | None = None) -> bool:
        """A message that belongs to no model; whether it went out."""
        return self.notify("alert", "imageloop", message, {})

    def ask(self, question: str, params: BaseAlerterStepParameters | None = None) -> bool:
        """Post the question and return False: Alertmanager has no replies. Approval is given by `run.py approve`."""
        self.post(question)
        return False

    def notify(self, kind: str, model: str, text: str, metrics: dict[str, Any], *, is_news: bool = True) -> bool:
        """Send a decision of the monitor."""
        return messages.notify(self.config.alertmanager, self.config.lasts_minutes, kind, model, text, metrics, is_news=is_news)


def active_alerter() -> Alerter | None:
    """Return the alerter of the active stack, None where it has none of ours."""
    from zenml.client import Client

    found = Client().active_stack.alerter
    return found if isinstance(found, Alerter) else None
