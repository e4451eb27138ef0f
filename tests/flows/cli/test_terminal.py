import logging
import os
import socket

import pytest

from flows.cli import prefect_server
from flows.cli.prefect_server import lost_server_explained, prepare_server
from flows.cli.terminal import _Progress, prepare_environment, starting
from pipeline.errors import InputError, UnreachableError

SMOKE = "configs/smoke.toml"


@pytest.fixture
def away(monkeypatch):
    """The URL of a Prefect server that nobody answers for, in the environment."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    monkeypatch.setattr(prefect_server, "server_url", lambda: url)
    monkeypatch.setattr("prefect.client.orchestration.PREFECT_API_URL", Setting(url))
    return url


class Setting:
    """A setting of Prefect's, which reads its environment once."""

    def __init__(self, value):
        self._value = value

    def value(self):
        return self._value


@pytest.mark.parametrize("command", ["run", "sweep", "compare"])
def test_prefect_server_that_is_away_is_one_message(cli, tmp_path, away, command):
    text, teacher = tmp_path / "a.csv", tmp_path / "teacher"
    settings = [f"data.train={text}", f"teacher.model={teacher}", f"runs_dir={tmp_path / 'runs'}"]

    code, stdout, stderr = cli(command, SMOKE, *(p for s in settings for p in ("--set", s)))

    said = " ".join(stderr.split())
    assert code == 2
    assert f"error: No Prefect server at {away}" in said
    assert "start it or unset PREFECT_API_URL" in said
    assert stderr.count("error:") == 1
    assert "starting ..." in stderr
    assert "Traceback" not in stdout + stderr


@pytest.mark.usefixtures("away")
def test_server_that_goes_away_meanwhile_is_the_reason():
    with pytest.raises(UnreachableError, match="No Prefect server at"), lost_server_explained():
        raise RuntimeError("a task run could not be created")


def test_errors_with_a_server_that_answers_stay_what_they_are(monkeypatch):
    monkeypatch.setattr(prefect_server, "server_url", lambda: None)

    for error in (KeyError("x"), InputError("bad"), OSError(28, "full")):
        with pytest.raises(type(error)), lost_server_explained():
            raise error


def test_temporary_server_that_does_not_start_is_told_when_it_is_waited_for(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server.")

    monkeypatch.setattr(prefect_server, "server_url", lambda: None)
    monkeypatch.setattr("prefect.client.orchestration.get_client", fail)

    wait = prepare_server()

    with pytest.raises(UnreachableError, match=r"temporary server did not start: Timed out"):
        wait()


@pytest.mark.usefixtures("cli")  # which takes the handler away again
def test_start_is_said_at_once(capfd):
    with starting():
        pass

    assert "starting ..." in capfd.readouterr().err


@pytest.mark.parametrize("shown_by_bar", [True, False])
def test_progress_is_a_line_now_and_then_where_no_bar_shows_it(shown_by_bar, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("flows.cli.terminal.time.monotonic", lambda: clock[0])
    progress = _Progress(shown_by_bar=shown_by_bar)
    record = logging.LogRecord("pipeline", logging.INFO, "", 0, "step 3 of 9", (), None)
    record.progress = "step 3 of 9"

    shown = []
    for clock[0] in range(5, 41, 5):
        shown.append(progress.filter(record))

    assert shown == ([False] * 8 if shown_by_bar else [False, True] * 4)


@pytest.mark.parametrize(("verbose", "level"), [(False, "CRITICAL"), (True, "WARNING")])
def test_libraries_of_the_temporary_server_are_quiet_unless_asked(monkeypatch, verbose, level):
    from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH, load_logging_config

    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [each for each in os.environ if each.startswith("PREFECT_LOGGING")]:
        del os.environ[name]

    prepare_environment(verbose=verbose)

    assert load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)["root"]["level"] == level
