import pytest
import yaml

from imageloop.data.settings import FolderSource
from imageloop.errors import SettingsError
from imageloop.settings_files import load_settings
from imageloop.training.settings import BaselineCnn, Transfer
from seldon.delivery.rollouts.settings import DeploySettings
from steps.pipeline_settings import TrainSettings


def load(*overrides, file=None, **preset):
    return load_settings(TrainSettings, file, list(overrides), **preset)


def test_without_a_value_the_default_holds():
    assert load() == TrainSettings()


def test_one_key_is_set_at_any_depth_and_the_rest_stays():
    settings = load("training.model.loop.max_epochs=3", "data.split.seed=9", "training.model.fine_tune_blocks=1")

    assert isinstance(settings.training.model, Transfer)
    assert settings.training.model.loop.max_epochs == 3
    assert settings.training.model.fine_tune_blocks == 1
    assert settings.data.split.seed == 9


def test_another_variant_is_chosen_by_its_kind():
    assert isinstance(load("training.model.kind=baseline_cnn").training.model, BaselineCnn)


def test_overrides_win_over_the_short_way_and_that_over_the_file(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({"data": {"source": {"kind": "generated", "num_images": 50}}, "training": {"seed": 1}}))

    settings = load("training.seed=2", file=file, data__source={"kind": "folder", "path": str(tmp_path)})

    assert settings.data.source == FolderSource(path=tmp_path)
    assert settings.training.seed == 2


def test_settings_survive_what_zenml_does_to_them():
    settings = load("training.model.kind=baseline_cnn")

    stored = settings.model_dump(mode="json", exclude_unset=True)

    assert TrainSettings.model_validate(stored) == settings


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("trainig.seed=1", "trainig: there is no such key .*did you mean 'training'"),
        ("training.model.bakbone=x", "training.model.bakbone: there is no such key .*did you mean 'backbone'"),
        ("data.source.xyz=1", "data.source.xyz: there is no such key .*there are: drift, kind, num_images, seed"),
        ("training.seed=many", "training.seed: expected a whole number, got 'many'"),
        ("training.model.loop.max_epochs=0", "training.model.loop.max_epochs: expected at least 1, got '0'"),
        ("data.split.train=0.9", "data.split: train, validation and test must be above 0 and add up to 1"),
        (
            "training.model.kind=transfr",
            "training.model.kind: expected 'transfer', 'baseline_cnn', got 'transfr'; did you mean 'transfer'",
        ),
        ("promotion.model_name=my pets", "promotion.model_name: expected letters, digits, - and _, got 'my pets'"),
        ("training.seed", "expected key.path=value"),
        ("training.seed.deeper=1", "training.seed"),
        ("training.seed=[1", "expected YAML"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_way_out(override, words):
    with pytest.raises(SettingsError, match=words):
        load(override)


@pytest.mark.parametrize(("content", "words"), [("a: [", "line 1"), ("- a", "key: value"), (None, "got none that can be read")])
def test_a_file_that_is_no_yaml_is_refused(tmp_path, content, words):
    file = tmp_path / "train.yaml"
    if content is not None:
        file.write_text(content)

    with pytest.raises(SettingsError, match=words):
        load(file=file)


def test_a_value_below_a_plain_value_is_refused(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text("training: {seed: 1}")

    with pytest.raises(SettingsError, match="expected a group of keys"):
        load("training.seed.x=1", file=file)


def test_a_string_that_could_be_a_number_stays_a_string():
    settings = load_settings(
        DeploySettings, None, ["version=2", "environment.SALT=0123", "environment.AT=12:30", "environment.X=true"]
    )

    assert settings.version == "2"
    assert settings.environment == {"SALT": "0123", "AT": "12:30", "X": "true"}
    assert load("training.seed=1_0", "training.model.loop.max_epochs=3").training.seed == 10


def test_a_file_is_laid_over_a_preset_key_by_key(tmp_path):
    base, file = tmp_path / "base.yaml", tmp_path / "file.yaml"
    base.write_text("training: {model: {kind: transfer, side_pixels: 128, loop: {batch_size: 64}}, seed: 5}")
    file.write_text("training: {model: {kind: transfer, loop: {learning_rate: 0.01}}}")

    settings = load_settings(TrainSettings, [base, file], ["training.seed=6"])

    assert (settings.training.model.side_pixels, settings.training.seed) == (128, 6)
    assert (settings.training.model.loop.batch_size, settings.training.model.loop.learning_rate) == (64, 0.01)
