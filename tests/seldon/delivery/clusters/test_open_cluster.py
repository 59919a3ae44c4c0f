"""What every replica of a site is given."""

from seldon.delivery.clusters.open_cluster import SALT_VARIABLE, source_salt


def test_callers_are_distinguished_by_a_secret_of_the_site(workspace, monkeypatch):
    made = source_salt(workspace)

    assert len(made) == 48
    assert source_salt(workspace) == made
    assert (workspace.keys / "source.salt").stat().st_mode & 0o077 == 0
    monkeypatch.setenv(SALT_VARIABLE, "ours")
    assert source_salt(workspace) == "ours"
