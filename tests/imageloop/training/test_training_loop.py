import numpy as np
import pytest
import torch
from torch import nn

from imageloop.errors import ImageLoopError
from imageloop.training.batches import rows_in_batches
from imageloop.training.checkpoint import Checkpoint
from imageloop.training.settings import HeadLoop
from imageloop.training.training_loop import Work, balanced_weights, fit


class Killed(Exception):
    pass


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("imageloop.training.checkpoint.SECONDS_BETWEEN", 0.0)
    return Checkpoint(tmp_path, "head")


def two_clouds(count=60):
    rng = np.random.default_rng(0)
    targets = np.arange(count) % 2
    rows = rng.normal(size=(count, 8)).astype(np.float32) + targets[:, None].astype(np.float32)
    return torch.from_numpy(rows), targets


def run(checkpoint, report=lambda row: None, max_epochs=12, patience=12, learning_rate=0.05):
    rows, targets = two_clouds()
    torch.manual_seed(0)
    head = nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 2))
    work = Work(
        rows_in_batches(rows, torch.from_numpy(targets), 16, seed=1),
        4,
        lambda: [rows],
        targets,
        ["a", "b"],
        None,
        torch.device("cpu"),
        1,
    )
    settings = HeadLoop(max_epochs=max_epochs, batch_size=16, learning_rate=learning_rate, patience_epochs=patience)
    return head, fit(head, work, settings, checkpoint, report)


def test_the_same_seed_gives_the_same_losses(checkpoint):
    first, second = (run(checkpoint)[1] for _ in range(2))

    assert [row.train_loss for row in first.history] == [row.train_loss for row in second.history]


def test_one_batch_can_be_overfitted(checkpoint):
    _, fitted = run(checkpoint, max_epochs=150, patience=150)

    assert fitted.history[-1].train_loss < 0.5 * fitted.history[0].train_loss
    assert fitted.history[fitted.best_epoch].validation.accuracy > 0.85


def test_an_interrupted_run_resumes_with_the_same_result(checkpoint):
    _, whole = run(checkpoint)

    def die(row):
        if row.epoch == 6:
            raise Killed

    with pytest.raises(Killed):
        run(checkpoint, die)
    assert checkpoint.file.exists()
    seen = []
    head, resumed = run(checkpoint, lambda row: seen.append(row.epoch))

    assert seen == list(range(12))  # the new run's curve is whole
    assert [row.train_loss for row in resumed.history] == [row.train_loss for row in whole.history]
    assert np.allclose(resumed.logits_NK, whole.logits_NK)
    assert not checkpoint.file.exists()


def test_a_damaged_checkpoint_is_no_obstacle(checkpoint):
    checkpoint.file.write_bytes(b"half a file")

    _, fitted = run(checkpoint)

    assert len(fitted.history) == 12


def test_it_stops_when_the_validation_loss_falls_no_more(checkpoint):
    _, fitted = run(checkpoint, max_epochs=500, patience=3)

    assert len(fitted.history) < 500
    assert len(fitted.history) - 1 - fitted.best_epoch == 3


def test_a_run_that_was_cut_off_after_its_last_epoch_trains_no_further(checkpoint, monkeypatch):
    _, whole = run(checkpoint, max_epochs=500, patience=3)
    monkeypatch.setattr(Checkpoint, "remove", lambda self: None)  # as where it is killed right before that

    for _ in range(3):
        _, resumed = run(checkpoint, max_epochs=500, patience=3)
        assert len(resumed.history) == len(whole.history)


def test_a_rare_class_weighs_more_and_a_row_weighs_one_on_average():
    targets = np.array([0] * 9 + [1])

    weights = balanced_weights(targets, 2)

    assert torch.isclose(weights[1] / weights[0], torch.tensor(9.0))
    assert torch.isclose(weights[torch.from_numpy(targets)].mean(), torch.tensor(1.0))


def test_a_loss_that_is_not_finite_ends_the_training_with_its_reason(checkpoint):
    with pytest.raises(ImageLoopError, match="lower the loop's learning_rate"):
        run(checkpoint, learning_rate=float("1e38"))
