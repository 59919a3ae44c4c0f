"""Serve several models in one process, each on ports of its own: python -m seldon.model_server FOLDER.

The folder's `models.json` (seldon.service.hosted_models) names the models, and is followed while it changes. Models are loaded when a
request needs them, and those that were not used for longest are unloaded within the process' memory.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seldon.launcher import Application, serve
from seldon.service.asgi_worker import ServiceWorker, TimedProtocol

if TYPE_CHECKING:
    from seldon.service.hosted_models import HostedModel
    from seldon.service.model_server_app import ModelServerApp

POLL_SECONDS = 0.2


class ModelServerWorker(ServiceWorker):
    """Serves a `ModelServerApp`, and follows the file of its models."""

    async def start_beside(self) -> Any:
        """Follow the file of models until `stop`."""
        self._following = asyncio.ensure_future(self._follow(Path(sys.argv[1])))
        return self

    async def stop(self, _seconds: float) -> None:
        """Take no more calls."""
        self._following.cancel()
        await self.asgi.stop_listening()

    async def _follow(self, folder: Path) -> None:
        from seldon.service.hosted_models import FILE, HostedModels, LoadFailure, write_failures
        from seldon.service.model_repository import failures_of

        file, seen, failures = folder / FILE, 0, dict[str, LoadFailure]()
        while True:
            changed = file.stat().st_mtime_ns if file.exists() else 0
            if changed != seen:
                await self.asgi.follow(HostedModels.read(folder), self._listen)
                seen = changed
            await self.asgi.repository.keep_within_memory()
            if (found := failures_of(self.asgi.repository.slots.values())) != failures:
                failures = found
                write_failures(folder, failures)
            await asyncio.sleep(POLL_SECONDS)

    async def _listen(self, port: int) -> Any:
        host = os.environ.get("IMAGELOOP_BIND", "127.0.0.1")
        server = await self.loop.create_server(lambda: TimedProtocol(self), host, port, reuse_address=True)
        self.servers.append(server)
        return server


class ModelServer(Application):
    """One process of several models under Gunicorn."""

    WORKER = ModelServerWorker

    def open(self) -> "ModelServerApp":
        """What the worker serves: no model yet."""
        from imageloop.model.verify_package import verified_once
        from seldon.microservice import ImageClassifier, compute_threads
        from seldon.service.asgi_app import ServiceApp
        from seldon.service.compute_threads import ComputeThreads
        from seldon.service.images_together import MAX_BATCH_VARIABLE, max_wait_seconds
        from seldon.service.model_server_app import ModelServerApp
        from seldon.service.seldon_app import service_app
        from seldon.service.serving_place import ServingPlace

        compute = ComputeThreads(compute_threads(), int(os.environ.get(MAX_BATCH_VARIABLE) or 1), max_wait_seconds())

        def open_app(model: "HostedModel") -> ServiceApp:
            place = ServingPlace(model.predictor, Path(model.records), model.deployment, compute, verified_once)
            classifier = ImageClassifier(**model.parameters, place=place)
            classifier.load()
            return service_app(classifier)

        return ModelServerApp(open_app)


if __name__ == "__main__":
    serve(ModelServer)
