from imageloop.adapters.git import commit_of


def test_outside_a_repository_the_commit_is_unknown(tmp_path):
    assert commit_of(tmp_path) == "unknown"
