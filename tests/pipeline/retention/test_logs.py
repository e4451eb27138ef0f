import os

import pytest

from pipeline.errors import InputError
from pipeline.retention.logs import cut_log, find_long_logs
from pipeline.retention.settings import Retention

NOW, DAY = 1_800_000_000.0, 86400.0
MB = 1_000_000


@pytest.fixture
def state(tmp_path):
    """A state folder with a large log, an old one, one that may stay, and a stranger."""
    (tmp_path / "logs").mkdir()
    (tmp_path / ".up.lock").touch()
    for name, size, age in (
        ("server.log", 3 * MB, 1),
        ("server.log.1", MB, 40),
        ("worker.log", 100, 40),
        ("student.log", 100, 1),
        ("notes.txt", 3 * MB, 40),
    ):
        path = tmp_path / "logs" / name
        path.write_bytes(b"old line\n" * (size // 9) + b"x" * (size % 9))
        os.utime(path, (NOW - age * DAY,) * 2)
    return tmp_path


def test_large_logs_keep_their_newest_part_and_old_ones_are_emptied(state):
    logs = state / "logs"
    newest = (logs / "server.log").read_bytes()[-MB:]
    found = find_long_logs(Retention(state=state, keep_log_mb=1), NOW)

    assert {each.path.name: each.cut_bytes for each in found} == {
        "server.log": 2 * MB,
        "server.log.1": MB,
        "worker.log": 100,
    }
    for each in found:
        cut_log(each)

    assert (logs / "server.log.1").read_bytes() == newest
    assert {path.name: path.stat().st_size for path in logs.iterdir()} == {
        "server.log": 0,
        "server.log.1": MB,
        "worker.log": 0,
        "student.log": 100,
        "notes.txt": 3 * MB,
    }


def test_service_goes_on_writing_to_a_log_that_was_cut(state):
    log = state / "logs" / "server.log"
    with log.open("ab") as service:
        for each in find_long_logs(Retention(state=state, keep_log_mb=1), NOW):
            cut_log(each)
        service.write(b"new line\n")

    assert log.read_bytes() == b"new line\n"


def test_folder_that_is_no_state_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a state folder"):
        find_long_logs(Retention(state=tmp_path), NOW)
