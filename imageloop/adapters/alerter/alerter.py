"""The alerter of a stack."""

from typing import Any, cast

from zenml.alerter.base_alerter import BaseAlerter, BaseAlerterStepParameters

from imageloop.adapters.alerter.flavor import AlerterConfig
from imageloop.adapters.alerter.messages import tell


class Alerter(BaseAlerter):
    """Posts what the watch decides, and what steps of ZenML's own want told."""

    @property
    def config(self) -> AlerterConfig:
        return cast("AlerterConfig", self._config)

    def post(self, message: str, params: BaseAlerterStepParameters | None = None) -> bool:
        """A message that belongs to no model; whether it went out."""
        return self.tell("alert", "imageloop", message, {})

    def ask(self, question: str, params: BaseAlerterStepParameters | None = None) -> bool:
        """Nobody can answer through Alertmanager: the question is posted, and the answer is no. `run.py approve` is the way."""
        self.post(question)
        return False

    def tell(self, kind: str, model: str, text: str, figures: dict[str, Any], *, is_news: bool = True) -> bool:
        """A decision of the watch."""
        return tell(self.config.alertmanager, self.config.lasts_minutes, kind, model, text, figures, is_news=is_news)


def active_alerter() -> Alerter | None:
    """None where the active stack has none of ours."""
    from zenml.client import Client

    found = Client().active_stack.alerter
    return found if isinstance(found, Alerter) else None
