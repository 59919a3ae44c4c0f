"""The predictor that the settings of a deployment ask for: of one version, or of several in an inference graph."""

from imageloop.errors import ImageLoopError, SettingsError
from imageloop.lifecycle.choose_version import choose_candidate, package_of
from imageloop.model.mean_predictor import joint_info
from imageloop.model.package import read_info
from imageloop.promotion.step_artifacts import Candidate
from seldon.delivery.inference_graph import render_graph
from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.render_manifest import render_predictor
from seldon.delivery.rollouts.settings import DeploySettings
from seldon.service.serving_protocols import SELDON, Protocol


def render_candidate(candidate: Candidate, settings: DeploySettings, protocol: Protocol = SELDON) -> PredictorSpec:
    """The predictor of a candidate, together with the versions of `settings.graph` where it names some.

    Raises: ImageLoopError where one of them may not serve, or does not fit the others; SettingsError for a graph behind another protocol.
    """
    if settings.graph is None:
        return _of_version(candidate, settings, protocol)
    if protocol is not SELDON:
        raise SettingsError("graph: expected Seldon's protocol, got V2; render it with --as seldon, or unset graph")
    also_refused = settings.allow_refused_version
    others = (choose_candidate(candidate.model_name, one, also_refused=also_refused) for one in settings.graph.with_versions)
    candidates = [candidate, *others]
    infos = {one.version: read_info(package_of(one)) for one in candidates}
    try:
        joint_info(list(infos.values()))
    except ImageLoopError as error:
        raise SettingsError(f"graph: versions {', '.join(infos)} of '{candidate.model_name}': {error}") from error
    return render_graph(settings.graph, [_of_version(one, settings, protocol) for one in candidates])


def _of_version(candidate: Candidate, settings: DeploySettings, protocol: Protocol) -> PredictorSpec:
    return render_predictor(
        version=candidate.version, model_name=candidate.model_name, model_uri=candidate.uri, replicas=settings.replicas,
        image=settings.image, environment=settings.environment, protocol=protocol,
    )  # fmt: skip
