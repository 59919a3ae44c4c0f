"""Which version of several predicts a request: a bandit that learns from feedback.

The counts lie in a SQLite file, which the replicas of one machine share: each of them learns from the feedback that any of them gets,
and what was learnt outlives them.
"""

import random
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from imageloop.abandoned_work import own_folder

Method = Literal["thompson", "epsilon_greedy"]
CHANCE = random.SystemRandom()
FRESH_SECONDS = 1.0  # so long the counts that were read last are used
REMEMBERED_SECONDS = 90 * 24 * 3600  # labels that arrive later teach nothing
BUSY_SECONDS = 5.0
SCHEMA = """
create table if not exists served (request_id text primary key, arm text not null, label text not null, reward integer, time real not null);
create table if not exists arms (arm text primary key, rewarded integer not null, judged integer not null);
"""
LEARN = """
insert into arms values (?, ?, ?)
on conflict (arm) do update set rewarded = rewarded + excluded.rewarded, judged = judged + excluded.judged
"""


def rewards_file(records: Path | None, predictor: str) -> Path:
    """Where the router of a predictor keeps what it learns: beside its records, and without any for as long as its process runs."""
    return (records or own_folder("router")) / f"router-{predictor}.db"


class Counts(NamedTuple):
    """The predictions of a version whose ground truth is known, and those of them that were right."""

    right: int
    judged: int

    @property
    def wrong(self) -> int:
        return self.judged - self.right


class Bandit:
    """Chooses one of `arms` (versions) for each request, the better ones more often. Thread-safe.

    `thompson`: as often as it is the best one by what is known (a Beta distribution of each arm's accuracy, uniform at first);
    `epsilon_greedy`: the best one so far, and with probability `epsilon` any.
    Source: Thompson, 1933; Chapelle and Li, 2011; Sutton and Barto, Reinforcement Learning, chapter 2.
    """

    def __init__(self, file: Path, arms: Sequence[str], method: Method = "thompson", epsilon: float = 0.1) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file, self._arms, self._method, self._epsilon = file, list(arms), method, epsilon
        self._lock, self._counts, self._read_at = threading.Lock(), dict.fromkeys(arms, Counts(0, 0)), float("-inf")
        with self._connection() as connection:
            connection.execute("pragma journal_mode=wal")
            connection.executescript(SCHEMA)
            connection.execute("delete from served where time < ?", [time.time() - REMEMBERED_SECONDS])
            connection.commit()

    def choose(self) -> str:
        """The arm of the next request."""
        counts = self.counts()
        if self._method == "thompson":
            return max(self._arms, key=lambda arm: CHANCE.betavariate(1 + counts[arm].right, 1 + counts[arm].wrong))
        if CHANCE.random() < self._epsilon:
            return CHANCE.choice(self._arms)
        return max(self._arms, key=lambda arm: (counts[arm].right + 1) / (counts[arm].judged + 2))

    def counts(self) -> dict[str, Counts]:
        """What is known of each arm, at most a second old."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                with self._connection() as connection:
                    rows = connection.execute("select arm, rewarded, judged from arms").fetchall()
                known = {arm: Counts(*row) for arm, *row in rows}
                self._counts, self._read_at = {arm: known.get(arm, Counts(0, 0)) for arm in self._arms}, time.monotonic()
            return self._counts

    def note_served(self, arm: str, predictions: Iterable[tuple[str, str]]) -> None:
        """Remember which arm predicted what: `predictions` has request ids and labels."""
        now = time.time()
        rows = [(request_id, arm, label, now) for request_id, label in predictions]
        with self._connection() as connection:
            connection.executemany("insert or ignore into served (request_id, arm, label, time) values (?, ?, ?, ?)", rows)
            connection.commit()

    def learn(self, request_id: str, ground_truth: str) -> str | None:
        """Reward the arm that predicted this request where its label was right; a later label of the same request replaces an earlier one.

        Returns: the arm; None for a request that it does not know.
        """
        with self._connection() as connection:
            connection.execute("begin immediate")
            row = connection.execute("select arm, label, reward from served where request_id = ?", [request_id]).fetchone()
            if row is None:
                connection.rollback()
                return None
            arm, label, before = row
            reward = int(label == ground_truth)
            change, judged = reward - (before or 0), int(before is None)
            connection.execute("update served set reward = ? where request_id = ?", [reward, request_id])
            connection.execute(LEARN, [arm, change, judged])
            connection.commit()
        return str(arm)

    def reward(self, arm: str, *, right: bool) -> None:
        """Learn that a prediction of an arm was right, or wrong, where that is known by itself."""
        with self._connection() as connection:
            connection.execute(LEARN, [arm, int(right), 1])

    def _connection(self) -> "closing[sqlite3.Connection]":
        connection = sqlite3.connect(self._file, timeout=BUSY_SECONDS, isolation_level=None)
        connection.execute(
            "pragma synchronous=off"
        )  # a crash of the machine may cost the last rewards, and no request waits for a disk
        return closing(connection)
