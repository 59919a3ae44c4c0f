"""An operator for SeldonDeployments that really runs what is applied."""

import threading
from collections.abc import Callable
from typing import Any

from imageloop.records.store.collector import collect
from imageloop.records.store.database import Database
from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.manifest import Manifest, dump

IN_PODS = ("IMAGELOOP_RECORDS", "IMAGELOOP_VERIFICATION_KEY", "IMAGELOOP_MONITOR_STATUS")  # the paths of volumes


class Operator:
    """Makes what was applied real with the processes of one machine, and brings their records to a database, as collectors in pods do."""

    def __init__(self, local: LocalCluster, database: Database, fetch: Callable[[str], str] = str) -> None:
        """`fetch` makes a package's address one of this machine, as the storage initializer of a pod does."""
        self.local, self._fetch = local, fetch
        self._database = database
        self._one_at_a_time = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def reconcile(self, value: dict[str, Any]) -> None:
        """In the background; what came of it is in `_operator_error`."""
        threading.Thread(target=self._reconcile, args=(value,), daemon=True).start()

    def delete(self, namespace: str, name: str) -> None:
        with self._one_at_a_time:
            self.local.delete(namespace, name)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _reconcile(self, value: dict[str, Any]) -> None:
        manifest = Manifest.model_validate({key: value[key] for key in ("apiVersion", "kind", "metadata", "spec")})
        with self._one_at_a_time:
            try:
                self.local.apply(self._fetched(manifest))
                value["_operator_error"] = ""
            except DeploymentError as error:
                value["_operator_error"] = str(error)

    def _fetched(self, manifest: Manifest) -> Manifest:
        """The service alone, which finds things where they are here; the collector beside it is `_collect`."""
        value = dump(manifest)
        for predictor in value["spec"]["predictors"]:
            predictor["graph"]["modelUri"] = self._fetch(predictor["graph"]["modelUri"])
            for component in predictor["componentSpecs"]:
                component["spec"]["containers"] = [service, *_] = component["spec"]["containers"][:1]
                service["env"] = [one for one in service["env"] if one["name"] not in IN_PODS]
        return Manifest.model_validate(value)

    def _collect(self) -> None:
        while not self._stopped.wait(0.5):
            collect(self.local._layout.records, self._database)
