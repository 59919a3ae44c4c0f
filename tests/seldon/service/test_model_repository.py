"""Models are loaded when they are needed, and the one that was not used for longest goes when memory is short."""

import asyncio
from types import SimpleNamespace

import pytest

from imageloop.errors import ImageLoopError
from seldon.service import model_repository as module
from seldon.service.hosted_models import HostedModel, HostedModels, LoadFailure, read_failures, write_failures
from seldon.service.model_repository import MIB, ModelRepository, Slot, failures_of
from seldon.service.request_errors import RequestError

BASE, EACH = 100, 50  # MB of the process, and of each model
DAMAGED = LoadFailure(message="its file is damaged", of_model=True)


class Memory:
    """A process in which every model takes the same."""

    def __init__(self, monkeypatch) -> None:
        self.opened: list[str] = []
        self.loaded: set[str] = set()
        self.broken: set[str] = set()
        monkeypatch.setattr(module, "resident_bytes", lambda: (BASE + EACH * len(self.loaded)) * MIB)

    def open(self, model: HostedModel):
        if model.slot in self.broken:
            raise ImageLoopError("its file is damaged")
        self.opened.append(model.slot)
        self.loaded.add(model.slot)
        handler = SimpleNamespace(admission=SimpleNamespace(is_idle=True))
        return SimpleNamespace(
            in_flight=0, model=SimpleNamespace(handler=handler), close=lambda: self.loaded.discard(model.slot), slot=model.slot
        )


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)
    return Memory(monkeypatch)


def hosted(slot, **options) -> HostedModel:
    return HostedModel(
        slot=slot,
        deployment=f"default/{slot}",
        predictor="v1",
        port=1,
        parameters={"model_name": slot},
        records="records",
        **options,
    )


def repository_of(memory, megabytes, *models) -> ModelRepository:
    repository = ModelRepository(memory.open, megabytes * MIB)
    repository.slots = {model.slot: Slot(model) for model in models}
    return repository


async def use(repository, slot) -> str:
    async with repository.using(repository.slots[slot]) as app:
        return app.slot


def test_the_model_that_was_not_used_for_longest_goes(memory):
    """Memory for two; a first guess of 64 MB a model is replaced by what it took."""

    async def play():
        repository = repository_of(memory, BASE + 2 * EACH + 20, *map(hosted, "abc"))
        for slot in "abacab":
            assert await use(repository, slot) == slot

    asyncio.run(play())
    assert memory.opened == ["a", "b", "c", "b"]  # b goes for c, then c for b; a was used most lately both times
    assert memory.loaded == {"a", "b"}


def test_a_warm_model_stays_and_one_in_use_too(memory):
    async def play():
        repository = repository_of(memory, BASE + 2 * EACH + 40, hosted("a", warm=True), hosted("b"), hosted("c"))
        await use(repository, "a")
        async with repository.using(repository.slots["b"]):
            with pytest.raises(RequestError, match="are in use or warm") as caught:
                await use(repository, "c")
            assert (caught.value.code, caught.value.reason, caught.value.retry_after_seconds) == (503, "no_memory", 1)
        await use(repository, "c")

    asyncio.run(play())
    assert memory.opened == ["a", "b", "c"]
    assert memory.loaded == {"a", "c"}


def test_warm_models_leave_room_for_one_that_is_not(memory):
    async def play():
        warm = (hosted(name, warm=True) for name in "abc")
        repository = repository_of(memory, BASE + 3 * EACH + 20, *warm, hosted("d"))
        await use(repository, "a")
        with pytest.raises(RequestError, match="fewer warm models"):
            await use(repository, "b")
        await use(repository, "d")

    asyncio.run(play())


def test_a_request_waits_for_a_model_in_use_to_be_idle(memory, monkeypatch):
    monkeypatch.setattr(module, "WAIT_SECONDS", 10.0)

    async def play():
        repository = repository_of(memory, BASE + EACH + 20, *map(hosted, "ab"))
        async with repository.using(repository.slots["a"]):
            waiting = asyncio.ensure_future(use(repository, "b"))
            await asyncio.sleep(0.1)
            assert not waiting.done()
        assert await waiting == "b"

    asyncio.run(play())
    assert memory.loaded == {"b"}


def test_a_request_that_its_caller_left_keeps_a_model(memory):
    async def play():
        repository = repository_of(memory, BASE + EACH + 20, *map(hosted, "ab"))
        await use(repository, "a")
        repository.slots["a"].app.model.handler.admission.is_idle = False
        with pytest.raises(RequestError):
            await use(repository, "b")

    asyncio.run(play())


def test_a_single_model_is_loaded_though_it_takes_more_than_there_is(memory):
    async def play():
        assert await use(repository_of(memory, 10, hosted("a")), "a") == "a"

    asyncio.run(play())


def test_callers_who_come_together_load_a_model_once(memory):
    async def play():
        repository = repository_of(memory, 1000, hosted("a"))
        await asyncio.gather(*(use(repository, "a") for _ in range(20)))

    asyncio.run(play())
    assert memory.opened == ["a"]


def test_a_model_that_cannot_be_loaded_is_tried_again_after_a_while(memory, monkeypatch):
    memory.broken.add("a")

    async def play():
        repository = repository_of(memory, 1000, *map(hosted, "ab"))
        slot = repository.slots["a"]
        for _ in range(2):
            with pytest.raises(RequestError, match="got an error of its package"):
                await use(repository, "a")
        assert failures_of(repository.slots.values()) == {"a": DAMAGED}
        assert await use(repository, "b") == "b"
        memory.broken.clear()
        slot.failed_at -= module.AGAIN_SECONDS
        assert await use(repository, "a") == "a"
        assert failures_of(repository.slots.values()) == {}

    asyncio.run(play())


def test_memory_that_predictions_took_is_given_back(memory):
    async def play():
        repository = repository_of(memory, BASE + 2 * EACH + 20, *map(hosted, "ab"))
        for slot in "ab":
            await use(repository, slot)
        repository.memory_bytes = (BASE + EACH) * MIB
        await repository.keep_within_memory()

    asyncio.run(play())
    assert memory.loaded == {"b"}


def test_the_file_of_models_is_read_as_it_was_written(tmp_path):
    assert HostedModels.read(tmp_path) == HostedModels()
    written = HostedModels(memory_mb=300, models=(hosted("a", warm=True), hosted("b", proved=True)))
    written.write(tmp_path)
    assert HostedModels.read(tmp_path) == written
    assert read_failures(tmp_path) == {}
    write_failures(tmp_path, {"a": DAMAGED})
    assert read_failures(tmp_path) == {"a": DAMAGED}


def test_this_process_takes_memory():
    assert module.resident_bytes() > 10 * MIB
