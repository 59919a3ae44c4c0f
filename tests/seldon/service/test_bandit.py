"""A bandit gives most requests to the version that feedback shows to be right."""

import random
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from seldon.service import bandit as module
from seldon.service.bandit import Bandit, Counts


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(module, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(module, "CHANCE", random.Random(0))
    random.seed(0)


def play(bandit: Bandit, accuracy: dict[str, float], rounds: int) -> Counter:
    chosen = Counter()
    for number in range(rounds):
        arm = bandit.choose()
        chosen[arm] += 1
        bandit.note_served(arm, [(f"{number}", "cat")])
        bandit.learn(f"{number}", "cat" if random.random() < accuracy[arm] else "dog")
    return chosen


@pytest.mark.parametrize(("method", "share"), [("thompson", 0.8), ("epsilon_greedy", 0.8)])
def test_the_better_version_gets_most_requests(tmp_path, method, share):
    chosen = play(Bandit(tmp_path / "a.db", ["1", "2"], method, epsilon=0.1), {"1": 0.6, "2": 0.9}, 600)
    assert chosen["2"] / 600 > share
    assert chosen["1"] > 5  # and the other one is still tried


def test_what_was_learnt_is_shared_and_outlives_a_process(tmp_path):
    bandit, other = (Bandit(tmp_path / "a.db", ["1", "2"]) for _ in range(2))
    bandit.note_served("2", [("a", "cat"), ("b", "dog")])
    assert other.learn("a", "cat") == "2"
    assert other.learn("b", "cat") == "2"
    assert Bandit(tmp_path / "a.db", ["1", "2"]).counts() == {"1": Counts(0, 0), "2": Counts(1, 2)}


def test_a_label_that_comes_twice_counts_once(tmp_path):
    bandit = Bandit(tmp_path / "a.db", ["1", "2"])
    bandit.note_served("1", [("a", "cat")])
    for label, right in (("cat", 1), ("cat", 1), ("dog", 0), ("cat", 1)):
        bandit.learn("a", label)
        assert bandit.counts()["1"] == Counts(right, 1)
    assert bandit.learn("nobody asked for this", "cat") is None


def test_replicas_that_learn_at_once_lose_nothing(tmp_path):
    bandits = [Bandit(tmp_path / "a.db", ["1", "2"]) for _ in range(4)]
    bandits[0].note_served("1", [(f"{number}", "cat") for number in range(200)])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: bandits[number % 4].learn(f"{number}", "cat"), range(200)))
    assert bandits[3].counts()["1"] == Counts(200, 200)


def test_a_version_that_is_new_begins_at_nothing(tmp_path):
    Bandit(tmp_path / "a.db", ["1", "2"]).reward("1", right=True)
    assert Bandit(tmp_path / "a.db", ["1", "3"]).counts() == {"1": Counts(1, 1), "3": Counts(0, 0)}


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "a.db").write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Bandit(tmp_path / "a.db", ["1", "2"])
