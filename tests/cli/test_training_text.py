import pytest

from cli import training_text


@pytest.mark.parametrize(
    ("given", "commands"),
    [
        (
            ["--data", "my pets", "--deploy", "--set", "training.seed=3"],
            [
                "python run.py train --data 'my pets' --set training.seed=8",
                "python run.py tune --data 'my pets'   # searches better settings",
            ],
        ),
        (["--preset", "best"], ["python run.py train --preset best --set training.seed=8"]),
        (["--preset=tiny"], ["python run.py train --preset=tiny --set training.seed=8"]),
    ],
)
def test_the_next_trainings_take_the_options_that_they_know(monkeypatch, given, commands):
    monkeypatch.setattr("sys.argv", ["run.py", "train", *given])

    assert training_text._other_trainings("python", 8) == commands
