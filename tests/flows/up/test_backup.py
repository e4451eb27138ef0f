import contextlib
import io
import json
import sqlite3
import tarfile
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.up.backup import restore_backup, write_backup
from pipeline.errors import InputError


@pytest.fixture
def state(tmp_path):
    """A state folder with a database, a run that leads to a stage, and half-written things."""
    state = tmp_path / "state"
    stage, run = state / "runs" / ".stages" / "data-1", state / "runs" / "run-1"
    for folder in (stage, run, state / "prefect", state / "logs", state / "runs" / "x.partial"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(folder.name.encode() * 99)
    (run / "data").symlink_to("../.stages/data-1")
    (state / "runs" / "latest").symlink_to("run-1")
    (state / ".up.lock").touch()
    (stage / "file").chmod(0o640)
    with contextlib.closing(sqlite3.connect(state / "prefect" / "prefect.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE pair (a INTEGER, b INTEGER)")
        database.commit()
    return state


@pytest.fixture
def backup(state, tmp_path):
    """A backup of `state`, which is moved away then."""
    write_backup(state, tmp_path / "backup.tar")
    state.rename(tmp_path / "before")
    return tmp_path / "backup.tar"


def contents_of(folder):
    """Return every file's bytes and mode, and every link's target, by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    return found


def test_restored_folder_holds_all_but_logs_and_what_is_half_written(backup, state, tmp_path):
    restore_backup(backup, state)

    before = {
        name: value
        for name, value in contents_of(tmp_path / "before").items()
        if not name.startswith(("logs", ".up", "runs/x", "prefect/prefect.db"))
    }
    after = contents_of(state)
    assert after.pop("prefect/prefect.db")
    assert after == before


def test_database_is_consistent_though_it_is_written_to_meanwhile(state, tmp_path):
    path, is_over = state / "prefect" / "prefect.db", threading.Event()

    def write():
        with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
            number = 0
            while not is_over.is_set() or number < 50:
                number += 1
                database.execute("INSERT INTO pair VALUES (?, 0)", (number,))
                database.execute("UPDATE pair SET b = a WHERE a = ?", (number,))
                database.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        write_backup(state, tmp_path / "backup.tar")
    finally:
        is_over.set()
        writer.join()
    state.rename(tmp_path / "before")
    restore_backup(tmp_path / "backup.tar", state)

    with contextlib.closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT a, b FROM pair ORDER BY a").fetchall()
    assert rows == [(each, each) for each in range(1, len(rows) + 1)]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_backup_is_refused_or_restored_as_it_was(backup, state, tmp_path, data):
    whole = backup.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(
        whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    )
    before = sorted(path.name for path in tmp_path.iterdir())

    with contextlib.suppress(InputError):
        restore_backup(damaged, state)
        # What changed was padding, or a time.
        assert contents_of(state).keys() == {*listed(backup)}
        for path in state.rglob("file"):
            assert path.read_bytes() in {each.encode() * 99 for each in NAMES}
        state.rename(tmp_path / f"restored-{at}-{cut}")
        before = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


NAMES = ("data-1", "run-1", "prefect")


def listed(backup):
    """Return the names that a backup's table of contents lists."""
    with tarfile.open(backup) as archive:
        table = json.load(archive.extractfile("backup.json"))
    return [*table["files"], *table["links"]]


def rewritten(backup, change):
    """Rewrite a backup's table of contents, and add members that it may name."""
    with tarfile.open(backup) as archive:
        table = json.load(archive.extractfile("backup.json"))
        members = [(each, archive.extractfile(each).read()) for each in archive.getmembers()[:-1]]
    added = change(table)
    with tarfile.open(backup, "w") as archive:
        for info, content in [
            *members,
            *added,
            (tarfile.TarInfo("backup.json"), json.dumps(table).encode()),
        ]:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def named(name, **fields):
    def change(table):
        table["files"][name] = "0" * 64
        info = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        return [(info, b"")]

    return change


def linked(leads_to):
    def change(table):
        table["links"]["runs/link"] = leads_to
        return []

    return change


def changed(**fields):
    def change(table):
        table.update(fields)
        return []

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (named("../out"), "leads out"),
        (named("/tmp/out"), "leads out"),
        (named("runs/../../out"), "leads out"),
        (named("runs/device", type=tarfile.CHRTYPE), "is no file"),
        (named("runs/hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "is "),
        (linked("../../out"), "leads out"),
        (linked("/etc"), "leads out"),
        (changed(format=2), "table of contents"),
        (changed(more=1), "table of contents"),
        (changed(state="/elsewhere"), "taken of /elsewhere"),
        (changed(versions={"prefect": "99.0"}), r"prefect 99\.0"),
        (changed(versions={"unheard-of": "1"}), "unheard-of 1"),
    ],
)
def test_strange_backup_is_refused_and_leaves_nothing(backup, state, tmp_path, change, why):
    rewritten(backup, change)
    before = sorted(tmp_path.iterdir())

    with pytest.raises(InputError, match=why):
        restore_backup(backup, state)
    assert sorted(tmp_path.iterdir()) == before


def test_members_that_the_table_does_not_name_are_not_written(backup, state, tmp_path):
    rewritten(backup, lambda _: [(tarfile.TarInfo("../stranger"), b"")])
    restore_backup(backup, state)

    assert not (tmp_path / "stranger").exists()


def test_folder_that_exists_is_not_replaced(backup, state):
    state.mkdir()
    with pytest.raises(InputError, match="exists already"):
        restore_backup(backup, state)


@pytest.mark.parametrize("where", ["state/b.tar", "none/b.tar", "there.tar"])
def test_backup_is_a_new_file_outside_of_the_folder(state, tmp_path, where):
    (tmp_path / "there.tar").touch()
    with pytest.raises(InputError, match="expected a new file"):
        write_backup(state, tmp_path / where)
    assert (tmp_path / "there.tar").read_bytes() == b""


def test_only_a_state_folder_is_backed_up(tmp_path):
    with pytest.raises(InputError, match="not the state folder"):
        write_backup(tmp_path, tmp_path.parent / "b.tar")


def test_link_out_of_the_folder_is_named_and_leaves_no_file(state, tmp_path):
    (state / "runs" / "out").symlink_to("/etc")
    before = sorted(tmp_path.iterdir())

    with pytest.raises(InputError, match="leads out of the state folder"):
        write_backup(state, tmp_path / "b.tar")
    assert sorted(tmp_path.iterdir()) == before
