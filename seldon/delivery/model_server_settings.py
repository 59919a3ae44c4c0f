"""Several models in the same processes of this machine: what a predictor's manifest says about that."""

from pydantic import Field

from imageloop.settings import Settings
from seldon.delivery.graph_settings import GraphSettings, VersionText
from seldon.delivery.manifest import PredictorSpec

SERVER = "imageloop.ai/server"  # an annotation: its processes serve the predictor
MEMORY, WARM = "imageloop.ai/server-memory-mb", "imageloop.ai/warm"  # labels: they change while it serves


class ServerSettings(Settings):
    """Models that name the same server share its processes; each is loaded when a request needs it."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=30)
    memory_mb: int = Field(
        1024, ge=256, description="of each process; beyond it the model that was not used for longest is unloaded"
    )
    warm: bool = Field(False, description="keep this model in memory")


class ModelEntry(Settings):
    """One of the models of `models`."""

    version: VersionText | None = Field(None, description="version of the registry; by default the champion")
    warm: bool = Field(False, description="keep this model in memory")
    graph: GraphSettings | None = Field(None, description="serve further versions of this model beside `version`")


def shared(predictor: PredictorSpec, settings: ServerSettings | None) -> PredictorSpec:
    """The predictor as one of several in the processes of a server; unchanged without settings."""
    if settings is None:
        return predictor
    labels = predictor.labels | {MEMORY: str(settings.memory_mb), WARM: str(settings.warm).lower()}
    return predictor.model_copy(update={"annotations": predictor.annotations | {SERVER: settings.name}, "labels": labels})


def server_of(predictor: PredictorSpec) -> ServerSettings | None:
    """The server that a predictor shares with others; None for one with processes of its own."""
    name = predictor.annotations.get(SERVER)
    if name is None:
        return None
    memory_mb, warm = int(predictor.labels[MEMORY]), predictor.labels[WARM] == "true"
    return ServerSettings.model_construct(name=name, memory_mb=memory_mb, warm=warm)  # also where a limit has changed since
