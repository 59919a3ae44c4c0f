"""Collect the service's records into the database."""

import time
from typing import Annotated

from zenml import log_metadata, step

from imageloop.lifecycle.collect_feedback import open_database
from imageloop.monitoring.settings import MonitoringSettings
from imageloop.records.store.collector import Collected
from imageloop.records.store.collector import collect as collect_records
from imageloop.workspace_paths import Workspace
from seldon.delivery.deployer.active_deployer import active_deployer


@step(enable_cache=False)
def collect(settings: MonitoringSettings) -> Annotated[dict[str, int], "collected"]:
    """Store each record once, and remove those beyond the retention settings."""
    folder = active_deployer().cluster.records(*settings.place)
    database = open_database(Workspace.current(), settings.database)
    collected = collect_records(folder, database) if folder is not None else Collected()
    removed = database.forget(
        settings.model_name, before=time.time() - settings.keep_days * 86_400, max_rows=settings.keep_records
    )
    counts = database.counts() | vars(collected) | {"forgotten": removed}
    database.close()
    log_metadata({"counts": counts})
    return counts
