"""Keys in the environment are read with their scopes; a wrong entry is refused without printing a key."""

import pytest

from imageloop.errors import SettingsError
from seldon.delivery.clusters.api_keys import read_keys


def test_each_entry_is_a_name_with_scopes_and_a_key(monkeypatch):
    monkeypatch.setenv("IMAGELOOP_API_KEYS", f"alice:predict+feedback:{'a' * 20}; prom:metrics:{'b' * 20}")

    assert [(key.name, key.scopes) for key in read_keys()] == [("alice", ("predict", "feedback")), ("prom", ("metrics",))]


@pytest.mark.parametrize(
    "entry", ["bob:everything:" + "secret" * 5, "bob:predict:secret", "imageloop.site:predict:" + "secret" * 5]
)
def test_an_entry_with_an_unknown_scope_a_short_key_or_a_reserved_name_is_refused(monkeypatch, entry):
    monkeypatch.setenv("IMAGELOOP_API_KEYS", entry)

    with pytest.raises(SettingsError, match="entry 1") as error:
        read_keys()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("second", "words"), [("alice:feedback:" + "other-secret" * 3, "a name"), ("bob:feedback:" + "secret" * 5, "a key")]
)
def test_a_name_or_a_key_twice_is_refused(monkeypatch, second, words):
    """Scopes belong to a name: a second key of the same name would get those of the first."""
    monkeypatch.setenv("IMAGELOOP_API_KEYS", "alice:predict:" + "secret" * 5 + ";" + second)

    with pytest.raises(SettingsError, match=f"entry 2: expected each name and each key once, got {words}") as error:
        read_keys()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("key", ["secret\x01" + "s" * 20, "secret\n" + "s" * 20, "sécret" + "s" * 20, "secret" * 5 + "\x7f"])
def test_a_key_that_no_header_can_carry_is_refused_when_it_is_read(monkeypatch, key):
    monkeypatch.setenv("IMAGELOOP_API_KEYS", f"bob:predict:{key}")

    with pytest.raises(SettingsError, match="entry 1: expected a key that a header can carry") as error:
        read_keys()
    assert "ssss" not in str(error.value)
    assert "secretsecret" not in str(error.value)
