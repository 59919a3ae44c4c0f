"""Measure drift and accuracy of the deployed version."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.lifecycle.measure_predictions import measure as measure_served
from imageloop.model.served_versions import recorded_version
from imageloop.monitoring.measurement import Measurement
from imageloop.monitoring.settings import MonitoringSettings
from imageloop.workspace_paths import Workspace
from materializers.measurement import MeasurementMaterializer
from seldon.delivery.deployer.active_deployer import active_deployer


@step(enable_cache=False, output_materializers={"measurement": MeasurementMaterializer})
def measure(collected: dict[str, int], settings: MonitoringSettings, labels_needed: int) -> Annotated[Measurement, "measurement"]:
    """Measure the version that has the traffic; during a rollout that is the stable one."""
    manifest = active_deployer().cluster.get(*settings.place)
    serving = recorded_version(manifest.history[-1].version) if manifest is not None and manifest.history else None
    measurement = measure_served(settings, labels_needed, serving, Workspace.current())
    log_metadata(
        {
            "predictions": collected["predictions"],
            "new_windows": measurement.num_new,
            "labels": measurement.num_labels,
            "labels_of_no_answer": measurement.orphans,
        }
    )
    return measurement
