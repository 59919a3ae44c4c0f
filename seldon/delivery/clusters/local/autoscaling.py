"""Scale the deployments of this machine between two numbers of replicas, by their requests in flight, as an autoscaler does on a cluster."""

import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from imageloop.errors import ImageLoopError
from seldon.delivery.clusters.cluster_protocol import RolloutUnderWayError
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.manifest import Manifest, PredictorSpec, bounds_of

logger = logging.getLogger(__name__)
IN_FLIGHT_PER_REPLICA = 4  # more wait for each other; as `pods.in_flight_per_replica`
UP_SAMPLES, DOWN_SAMPLES = 3, 30  # of the load: a second of waiting is seen at once, a pause only after a minute
SAMPLE_SECONDS = 2.0


def desired_replicas(in_flight: Sequence[float], replicas: int, bounds: tuple[int, int]) -> int:
    """How many replicas the load needs: more as soon as the newest samples exceed what these are for, fewer once all samples do without.

    `in_flight`: samples of the requests in flight over all replicas, the newest last.
    """
    least, most = bounds
    needed = [math.ceil(one / IN_FLIGHT_PER_REPLICA) for one in in_flight]
    desired = replicas
    if len(needed) >= UP_SAMPLES and statistics.median(needed[-UP_SAMPLES:]) > replicas:
        desired = int(statistics.median(needed[-UP_SAMPLES:]))
    elif len(needed) >= DOWN_SAMPLES and max(needed) < replicas:
        desired = max(needed)
    return min(max(desired, least), most)


@dataclass
class Autoscaler:
    """Samples the load of every scaled deployment of a cluster, and changes the number of its replicas."""

    cluster: LocalCluster
    samples: dict[str, deque[float]] = field(default_factory=dict)

    def step(self) -> list[str]:
        """Sample once, and scale what needs it; each change as a sentence. What is being rolled out is left alone."""
        changed = []
        for manifest in self.cluster.belonging_to("", ""):
            predictor = manifest.spec.predictors[0]
            bounds = bounds_of(predictor)
            if bounds is None or manifest.rollout is not None or len(manifest.spec.predictors) > 1:
                continue
            samples = self.samples.setdefault(f"{manifest.key} {predictor.name}", deque(maxlen=DOWN_SAMPLES))
            try:
                samples.append(self._in_flight(manifest, predictor))
                if sentence := self._scale(manifest, predictor, bounds, list(samples)):
                    samples.clear()
                    changed.append(sentence)
            except ImageLoopError as error:
                logger.warning("'%s' could not be scaled: %s", manifest.key, error)
        return changed

    def _in_flight(self, manifest: Manifest, predictor: PredictorSpec) -> float:
        expositions = self.cluster.exposition(manifest.metadata.namespace, manifest.metadata.name, predictor.name)
        return sum(
            sample.value
            for text in expositions.values()
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "imageloop_in_flight"
        )

    def _scale(self, manifest: Manifest, predictor: PredictorSpec, bounds: tuple[int, int], samples: list[float]) -> str:
        replicas = desired_replicas(samples, predictor.replicas, bounds)
        if replicas == predictor.replicas:
            return ""
        place, begun = (manifest.metadata.namespace, manifest.metadata.name), time.monotonic()
        try:
            with self.cluster.changing(*place):
                if self.cluster.get(*place) != manifest:
                    return ""
                self.cluster.apply(manifest.with_predictors([predictor.model_copy(update={"replicas": replicas})], None))
        except RolloutUnderWayError:
            return ""
        load = statistics.median(samples[-UP_SAMPLES:])
        seconds = time.monotonic() - begun
        return f"{manifest.key}: from {predictor.replicas} to {replicas} replicas, for {load:.0f} requests in flight ({seconds:.1f} s)"
