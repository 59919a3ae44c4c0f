"""The ASGI app of a process that serves several models: the port on which a request arrives says which one it is for.

Health checks are answered without loading a model. The process' own port has its metrics and the state of its models.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from seldon.service import prometheus_metrics
from seldon.service.asgi_app import HEADERS, HEALTH, READY, Scope, Send, ServiceApp
from seldon.service.callers import Receive
from seldon.service.grpc_server import Answer, GrpcServer, refuse_call
from seldon.service.hosted_models import HostedModel, HostedModels, LoadFailure
from seldon.service.json_encoding import to_json
from seldon.service.model_repository import MIB, ModelRepository, Slot, resident_bytes
from seldon.service.request_errors import RequestError
from seldon.service.routes import route_of
from seldon.service.serving_protocols import SELDON

logger = logging.getLogger(__name__)
END_SECONDS = 25.0  # for the requests of a model that is removed
Listen = Callable[[int], Awaitable[Any]]


class ModelServerApp:
    """Serves the models of a repository."""

    def __init__(self, open_app: Callable[[HostedModel], ServiceApp]) -> None:
        self.is_ending = False
        self._by_port: dict[int, Slot] = {}
        self._listeners: dict[str, list[Any]] = {}
        self._removals: set[asyncio.Task[None]] = set()
        self.repository = ModelRepository(open_app, 0)

    @property
    def in_flight(self) -> int:
        """Requests that hold a model, loaded or not."""
        return sum(slot.users for slot in self.repository.slots.values())

    def close(self) -> None:
        """Before the process ends: write the records that wait."""
        for slot in self.repository.slots.values():
            if slot.app is not None:
                slot.app.close()

    async def stop_listening(self) -> None:
        """Take no more calls over gRPC, for all models."""
        for listeners in self._listeners.values():
            for listener in listeners:
                if isinstance(listener, GrpcServer):
                    await listener.stop(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        slot = self._by_port.get(scope["server"][1])
        if scope["type"] != "http":
            return
        if slot is None:
            await self._answer_of_process(scope["path"], send)
        elif scope["path"] == "/metrics" and scope["method"] == "GET":
            text, content_type = prometheus_metrics.exposition_of(slot.label, slot.model.predictor)
            await _send(send, 200, text, content_type)
        elif scope["path"] in HEALTH and scope["method"] == "GET":
            await self._answer_health(slot, scope["path"], send)
        else:
            await self._serve(slot, scope, receive, send)

    async def _serve(self, slot: Slot, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        try:
            async with self.repository.using(slot) as app:
                app.is_ending = self.is_ending
                await app(scope, receive, send)
        except RequestError as error:
            prometheus_metrics.refused.labels(slot.label, error.reason).inc()
            if (route := route_of(scope["path"])) is not None:
                prometheus_metrics.count_request(slot.label, route, error.code, begun)
            await _refuse(send, error)

    async def _answer_health(self, slot: Slot, path: str, send: Send) -> None:
        if path in READY and self.is_ending:
            await _refuse(send, RequestError(503, "ending", "expected a service that goes on, got one that ends"))
        elif path != SELDON.live_path and (slot.failure is not None or not slot.model.proved):
            await _refuse(
                send, RequestError(503, "not_loaded", "expected a model that can be loaded, got one that is not; see /models")
            )
        else:
            await _send(send, 200, to_json([slot.model.parameters["model_version"]]), "application/json")

    async def _answer_of_process(self, path: str, send: Send) -> None:
        if path == "/metrics":
            await _send(send, 200, *prometheus_metrics.exposition_of_process())
        elif path in HEALTH:
            await _send(send, 200, to_json({"ready": not self.is_ending}), "application/json")
        elif path == "/models":
            await _send(send, 200, to_json(self.state()), "application/json")
        else:
            await _refuse(
                send, RequestError(404, "no_such_route", "expected /models, /metrics or a health check, got another path")
            )

    def state(self) -> dict[str, Any]:
        """The models of the process, and its memory."""
        models = [
            {
                "deployment": slot.model.deployment,
                "predictor": slot.model.predictor,
                "loaded": slot.app is not None,
                "warm": slot.model.warm,
                "mb": round(slot.num_bytes / MIB, 1),
                "error": slot.failure.message if slot.failure else None,
            }
            for slot in self.repository.slots.values()
        ]
        return {"memory_mb": self.repository.memory_bytes // MIB, "resident_mb": resident_bytes() // MIB, "models": models}

    async def follow(self, hosted: HostedModels, listen: Listen) -> None:
        """Serve exactly the models that the file names from now on. `listen`: opens a port in this process."""
        self.repository.memory_bytes = hosted.memory_mb * MIB
        given = {model.slot: model for model in hosted.models}
        for name in self.repository.slots.keys() - given.keys():
            removal = asyncio.ensure_future(self._remove(self.repository.slots[name]))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)
        for model in given.values():
            slot = self.repository.slots.get(model.slot)
            if slot is None:
                await self._add(model, listen)
            else:
                slot.model = model.model_copy(update={"proved": slot.model.proved or model.proved})

    async def _add(self, model: HostedModel, listen: Listen) -> None:
        """Listen for a model; one that was never loaded is loaded now, which shows whether that is possible."""
        slot = self.repository.slots[model.slot] = self._by_port[model.port] = Slot(model)
        try:
            listeners = [await listen(model.port)]
            if model.grpc_port:
                server = GrpcServer(self._grpc_of(slot))
                await server.start(model.grpc_port)
                listeners.append(server)
        except (OSError, RuntimeError) as error:
            message = f"expected the ports {model.port} and {model.grpc_port} to be free, got: {error}"
            slot.failure = LoadFailure(message=message, of_model=False)
            return
        self._listeners[model.slot] = listeners
        if model.proved and not model.warm:
            return
        try:
            await self.repository.load(slot)
        except RequestError as error:
            slot.failure = slot.failure or LoadFailure(message=error.info, of_model=False)
            return
        slot.model = slot.model.model_copy(update={"proved": True})

    async def _remove(self, slot: Slot) -> None:
        """Take no more requests for a model, and unload it once those that run have ended."""
        del self.repository.slots[slot.model.slot]
        for listener in self._listeners.pop(slot.model.slot, []):
            if isinstance(listener, GrpcServer):
                await listener.stop(END_SECONDS)
            else:
                listener.close()
        deadline = time.monotonic() + END_SECONDS
        while slot.app is not None and not slot.is_idle and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self._by_port.pop(slot.model.port, None)
        await self.repository.unload(slot)

    def _grpc_of(self, slot: Slot) -> Callable[[str], Answer]:
        """gRPC's way to a model, which is loaded for a call."""

        def answering(path: str) -> Answer:
            async def answer(content: bytes, context: Any) -> bytes:
                try:
                    async with self.repository.using(slot) as app:
                        found = app.grpc_calls.answering(path)
                        if found is None:
                            raise RequestError(
                                404, "no_such_route", "expected a method of Seldon's or of Open Inference, got another one"
                            )
                        return await found(content, context)
                except RequestError as error:
                    return await refuse_call(context, error)

            return answer

        return answering


async def _refuse(send: Send, error: RequestError) -> None:
    later = [] if error.retry_after_seconds is None else [(b"retry-after", str(error.retry_after_seconds).encode())]
    await _send(send, error.code, to_json(error.body()), "application/json", later)


async def _send(send: Send, code: int, body: bytes, content_type: str, more: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode()), *HEADERS, *(more or [])]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
