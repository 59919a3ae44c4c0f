"""Collect the service's records into the database."""

import time
from typing import Annotated

from zenml import log_metadata, step

from imageloop.lifecycle.feedback_for_training import collected_records
from imageloop.monitoring.settings import MonitoringSettings
from imageloop.workspace_paths import Workspace
from seldon.delivery.deployer.active_deployer import active_deployer


@step(enable_cache=False)
def collect(settings: MonitoringSettings) -> Annotated[dict[str, int], "collected"]:
    """Store each record once, and remove those beyond the retention settings."""
    folder = active_deployer().cluster.records(*settings.place)
    with collected_records(folder, Workspace.current(), settings.database) as (database, collected):
        removed = database.forget(
            settings.model_name, before=time.time() - settings.keep_days * 86_400, max_rows=settings.keep_records
        )
        counts = database.counts() | vars(collected) | {"forgotten": removed}
    log_metadata({"counts": counts})
    return counts
