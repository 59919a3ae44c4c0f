"""The compute threads: what waits together is computed together, and nobody gets another one's result."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from seldon.service.compute_threads import ComputeThreads


@pytest.fixture
def threads():
    made = []

    def make(num_threads: int = 1, max_together: int = 4) -> ComputeThreads:
        made.append(ComputeThreads(num_threads, max_together))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Held:
    """A function whose first call waits, so that the next ones are queued meanwhile."""

    def __init__(self) -> None:
        self.released, self.calls = threading.Event(), []

    def __call__(self, arguments: list) -> list:
        self.calls.append(arguments)
        self.released.wait(10)
        return [ValueError(argument) if argument == "bad" else f"of {argument}" for argument in arguments]


def begin(compute: ComputeThreads, function: Held, first: object = "first"):
    """Submit one, and return when it is computed."""
    calls = len(function.calls)
    result = compute.submit(function, first)
    while len(function.calls) == calls:
        pass
    return result


def test_what_waits_is_taken_together_up_to_the_limit(threads):
    compute, function = threads(), Held()
    first = begin(compute, function)
    results = [compute.submit(function, number) for number in range(6)]
    function.released.set()

    assert [first.result(), *(result.result() for result in results)] == ["of first", *(f"of {number}" for number in range(6))]
    assert function.calls == [["first"], [0, 1, 2, 3], [4, 5]]


def test_a_thread_takes_its_share_and_leaves_the_rest_to_the_others(threads):
    compute, function = threads(num_threads=2), Held()
    begin(compute, function, "one")
    begin(compute, function, "other")
    results = [compute.submit(function, number) for number in range(4)]
    function.released.set()

    assert [result.result() for result in results] == [f"of {number}" for number in range(4)]
    assert max(len(call) for call in function.calls) == 2


def test_an_error_is_that_of_one_caller(threads):
    compute, function = threads(), Held()
    begin(compute, function)
    good, bad = compute.submit(function, "good"), compute.submit(function, "bad")
    function.released.set()

    assert good.result() == "of good"
    with pytest.raises(ValueError, match="bad"):
        bad.result()


def test_what_a_function_raises_ends_no_thread(threads):
    compute = threads()

    with pytest.raises(ZeroDivisionError):
        compute.submit(lambda arguments: [1 / 0 for _ in arguments], None).result()
    assert compute.submit(lambda arguments: arguments, "still there").result() == "still there"


def test_a_large_job_and_another_function_go_alone(threads):
    compute, function, other = threads(), Held(), Held()
    other.released.set()
    begin(compute, function)
    results = [
        compute.submit(function, "small"),
        compute.submit(function, "large", alone=True),
        compute.submit(function, "small again"),
        compute.submit(other, "other"),
    ]
    function.released.set()

    assert len([result.result() for result in results]) == 4
    assert function.calls == [["first"], ["large"], ["small", "small again"]]


def test_single_images_and_large_jobs_take_turns_on_one_thread(threads):
    compute, function = threads(), Held()
    begin(compute, function)
    results = [compute.submit(function, f"large {number}", alone=True) for number in range(3)]
    results += [compute.submit(function, number) for number in range(5)]
    function.released.set()

    assert len([result.result() for result in results]) == 8
    assert function.calls == [["first"], ["large 0"], [0, 1, 2, 3], ["large 1"], [4], ["large 2"]]


def test_large_jobs_leave_one_thread_to_single_images(threads):
    compute, large, small = threads(num_threads=2), Held(), Held()
    begin(compute, small, "one")
    held = Held()
    begin(compute, held, "other")
    results = [compute.submit(large, number, alone=True) for number in range(4)]
    single = [compute.submit(small, number) for number in range(2)]
    small.released.set()
    held.released.set()

    assert [one.result(5) for one in single] == ["of 0", "of 1"]  # though every large job waits for its release
    large.released.set()
    assert len([one.result(5) for one in results]) == 4


def test_a_job_that_is_cancelled_before_its_turn_is_not_begun(threads):
    compute, function = threads(), Held()
    begin(compute, function)
    cancelled, kept = compute.submit(function, "cancelled"), compute.submit(function, "kept")
    assert cancelled.cancel()
    function.released.set()

    assert kept.result() == "of kept"
    assert function.calls == [["first"], ["kept"]]


def test_closing_finishes_what_waits(threads):
    compute, function = threads(), Held()
    begin(compute, function)
    waiting = compute.submit(function, "waiting")
    function.released.set()
    compute.close()

    assert waiting.result(0) == "of waiting"


def test_many_callers_get_their_own_results(threads):
    compute = threads(num_threads=3)

    with ThreadPoolExecutor(32) as pool:
        found = list(
            pool.map(lambda number: compute.submit(lambda numbers: [n * n for n in numbers], number).result(), range(2000))
        )

    assert found == [number * number for number in range(2000)]


def test_a_thread_that_may_wait_takes_what_comes_meanwhile(threads):
    made = ComputeThreads(1, 3, max_wait_seconds=30)
    calls: list[list] = []

    def function(arguments: list) -> list:
        calls.append(arguments)
        return arguments

    results = [made.submit(function, number) for number in range(3)]

    assert [result.result(20) for result in results] == [0, 1, 2]
    assert calls == [[0, 1, 2]]
    waiting = made.submit(function, "last")
    made.close()
    assert waiting.result(0) == "last"
