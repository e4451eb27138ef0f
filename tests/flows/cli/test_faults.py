import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from flows.cli import faults
from flows.cli.faults import explain_os_error, run_guarded
from pipeline.errors import InputError

CLI = [sys.executable, "-m", "flows.cli.main"]


@pytest.fixture
def ended(monkeypatch, capfd, tmp_path):
    """``ended(error)``: exit code and standard error of a command that raises it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(sys, "argv", ["adapter-distill", "predict", "x"])

    def ended(error):
        def command():
            raise error

        with pytest.raises(SystemExit) as stop:
            run_guarded(command)
        return stop.value.code, capfd.readouterr().err

    return ended


class PanicException(BaseException):
    """As pyo3's, which is no `Exception`."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("first line\nsecond line"),
        KeyError("x"),
        RecursionError("maximum recursion depth exceeded"),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        PanicException("byte index 3 is not a char boundary"),
        ValueError("surrogate \udce9"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unforeseen_error_is_one_line_and_a_log(ended, tmp_path, error):
    code, stderr = ended(error)

    (log,) = (tmp_path / "state" / "adapter-distill").iterdir()
    story = log.read_text()
    assert code == 1
    assert stderr.count("\n") == stderr.count("error:") == 1
    assert f"unforeseen {type(error).__name__}" in stderr
    assert str(log) in stderr
    assert "Traceback" not in stderr
    assert "Traceback" in story
    assert "command: adapter-distill predict x" in story
    assert "adapter-distill 0" in story
    assert "python 3." in story


def test_log_holds_no_secrets(ended, tmp_path, monkeypatch):
    secret = ["--token=s3cret", "--token", "s3cret", "--registry", "http://me:s3cret@host/"]
    monkeypatch.setattr(sys, "argv", ["adapter-distill", "serve", *secret])

    _, stderr = ended(RuntimeError("no http://me:s3cret@host/"))

    (log,) = (tmp_path / "state" / "adapter-distill").iterdir()
    assert "s3cret" not in log.read_text() + stderr


def test_log_goes_elsewhere_where_the_state_folder_cannot_be_made(ended, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(faults.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))

    _, stderr = ended(RuntimeError("x"))

    (log,) = (tmp_path / "temporary").iterdir()
    assert str(log) in stderr


def test_bad_input_and_an_interrupt_leave_no_log(ended, tmp_path):
    assert ended(InputError("bad \udce9")) == (2, "error: bad \\udce9\n")
    code, stderr = ended(KeyboardInterrupt())

    assert (code, stderr.count("\n")) == (130, 1)
    assert "Stopped. Run the same command again" in stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free the disk"),
        (errno.EROFS, "give another folder"),
        (errno.EACCES, "give another folder"),
        (errno.ENOENT, "Give another path"),
        (errno.ECONNRESET, "run again"),
    ],
)
def test_what_the_system_refuses_is_told_with_its_path_and_advice(ended, number, advice):
    error = OSError(number, os.strerror(number), "/some/path")

    code, stderr = ended(error)

    assert code == 2
    assert explain_os_error(error) in stderr
    assert advice in stderr
    assert "/some/path" in stderr


def test_reader_that_leaves_is_no_fault():
    command = " ".join([*CLI, "config --schema | head -c 1"])

    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("{", "")
    assert done.returncode in (0, 1)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(("config", "code"), [("configs/smoke.toml", 0), ("nowhere.toml", 2)])
def test_closed_streams_change_no_exit_code(closed, config, code):
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *CLI, "config", config]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr


def test_names_are_shown_where_the_terminal_cannot_spell_them():
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C.UTF-8"}

    done = subprocess.run(
        [*CLI, "config", "caf\N{LATIN SMALL LETTER E WITH ACUTE}.toml"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )

    assert done.returncode == 2
    assert "caf\\xe9.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_undecodable_argument_is_refused():
    done = subprocess.run([*CLI, "config", b"caf\xe9.toml"], capture_output=True, check=False)

    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"Argument 2 is not UTF-8 text" in done.stderr


def test_interrupt_ends_with_130_and_one_line():
    waiting = subprocess.Popen(
        [*CLI, "predict", "student", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while "predict" not in _reads_stdin(waiting.pid):
        time.sleep(0.05)
    waiting.send_signal(signal.SIGINT)

    _, stderr = waiting.communicate(timeout=60)

    assert waiting.returncode == 130
    assert stderr.count("\n") == 1
    assert "Stopped." in stderr


def _reads_stdin(pid):
    """Return the command line of a process once it waits for its standard input."""
    import psutil

    process = psutil.Process(pid)
    # It has imported what it needs when it sleeps in a read, seen twice in a row.
    asleep = [process.status() == psutil.STATUS_SLEEPING for _ in range(3) if not time.sleep(0.3)]
    return " ".join(process.cmdline()) if all(asleep) else ""
