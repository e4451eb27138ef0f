import pytest

from pipeline.champion import find_champion, name_champion
from pipeline.errors import InputError


def make_run(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "report.json").write_text("{}")
    return folder


def test_there_is_no_champion_before_the_first_release(tmp_path):
    assert find_champion(tmp_path) is None


def test_last_named_run_is_the_champion(tmp_path):
    first, second = make_run(tmp_path, "first"), make_run(tmp_path, "second")
    name_champion(tmp_path, first)
    name_champion(tmp_path, second)

    assert find_champion(tmp_path) == second.resolve()


def test_unfinished_or_foreign_runs_are_refused(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="not a finished run"):
        name_champion(tmp_path / "runs", make_run(tmp_path, "elsewhere"))

    assert find_champion(tmp_path / "runs") is None
