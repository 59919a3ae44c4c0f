"""The pages of the service: the page for people, and the documentation of its API."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Response, request, send_from_directory

from imageloop.model.package import MODEL_CARD
from seldon.service.error_handlers import json_response
from seldon.service.openapi import SWAGGER_FILES, document, page, swagger_folder
from seldon.service.request_errors import RequestError

if TYPE_CHECKING:
    from seldon.microservice import ImageClassifier

WEB = Path(__file__).parents[1] / "web"
FILES = ("/", "/page.js", "/batch.js", "/page.css", "/operations", "/operations.js", "/docs.js")
SWAGGER = tuple(f"/docs/{name}" for name in SWAGGER_FILES)
PAGES = (*FILES, "/docs", *SWAGGER, "/openapi.json", "/model-card")


class WebPages:
    """The views of the pages, bound to one model."""

    def __init__(self, model: "ImageClassifier") -> None:
        self._model = model

    def views(self) -> dict[str, Callable[[], Response]]:
        """The view of each path of PAGES."""
        documentation = {"/openapi.json": self.openapi, "/docs": self.docs, "/model-card": self.model_card}
        return documentation | dict.fromkeys(FILES, self.page) | dict.fromkeys(SWAGGER, self.swagger)

    def openapi(self) -> Response:
        return json_response(document(self._model.info, self._model.model_name))

    def docs(self) -> Response:
        return Response(page(document(self._model.info, self._model.model_name)), mimetype="text/html")

    def model_card(self) -> Response:
        """The model card of this version as Markdown. Raises: RequestError for a package made before 0.3."""
        card = self._model.folder / MODEL_CARD
        if not card.is_file():
            raise RequestError(
                404, "no_model_card", "expected a package with a model card, got one of an earlier release; train again"
            )
        return Response(card.read_text(encoding="utf-8"), mimetype="text/plain")

    def swagger(self) -> Response:
        """One of Swagger UI's files. Raises: RequestError where the environment has none."""
        folder = swagger_folder()
        if folder is None:
            raise RequestError(
                404, "no_such_route", "expected an environment with Swagger UI, got one without; see /openapi.json"
            )
        return send_from_directory(folder, request.path.rpartition("/")[2])

    def page(self) -> Response:
        name = request.path[1:] or "index"
        return send_from_directory(WEB, name if "." in name else f"{name}.html")
