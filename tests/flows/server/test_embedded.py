"""SQLite under a Prefect server, with several writers at once."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import httpx
import pytest
import sqlalchemy as sa
from support.prefect_api import free_port, wait_for

from flows.server.embedded import begin_at_once, wait_for_turn


@pytest.fixture
def engine(tmp_path):
    """A database of one counter, whose transactions begin as those of Prefect do."""
    found = sa.create_engine(f"sqlite:///{tmp_path / 'counter.db'}", connect_args={"timeout": 60})

    @sa.event.listens_for(found, "connect")
    def leave_begin_to_us(connection, _record):
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")

    @sa.event.listens_for(found, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN DEFERRED")

    with found.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE counter (value INTEGER)")
        connection.exec_driver_sql("INSERT INTO counter VALUES (0)")
    yield found
    found.dispose()


@pytest.fixture
def waiting():
    """Transactions of this process wait for their turn."""
    wait_for_turn()
    yield
    sa.event.remove(sa.engine.Engine, "before_cursor_execute", begin_at_once)


def count_up(engine, times, threads=4):
    """Read and write the counter from several threads; return its end and what was raised."""
    faults = []

    def work():
        for _ in range(times):
            try:
                with engine.begin() as connection:
                    value = connection.exec_driver_sql("SELECT value FROM counter").scalar()
                    time.sleep(0.001)  # long enough for another thread to write
                    connection.exec_driver_sql(f"UPDATE counter SET value = {value + 1}")
            except sa.exc.OperationalError as error:
                faults.append(str(error))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT value FROM counter").scalar(), faults


@pytest.mark.usefixtures("waiting")
def test_transaction_that_reads_and_then_writes_waits_for_its_turn(engine):
    assert count_up(engine, times=20) == (80, [])


def test_without_waiting_it_fails_at_once_whatever_the_timeout(engine):
    value, faults = count_up(engine, times=20)

    assert value + len(faults) == 80
    assert any("database is locked" in fault for fault in faults)


@pytest.fixture
def server(tmp_path):
    """Address of a Prefect server on a new SQLite file, and its log."""
    port = free_port()
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "flows.server.embedded", "server", "start"]
    log = tmp_path / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=file,
            stderr=file,
        )

    def is_ready():
        try:
            return httpx.get(f"http://127.0.0.1:{port}/api/ready", timeout=5).is_success
        except httpx.HTTPError:
            return False

    try:
        wait_for(is_ready)
        yield f"http://127.0.0.1:{port}/api", log
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.mark.slow
def test_answers_under_load_are_never_refused_by_a_locked_database(server):
    """Runs that are created, started, suspended and logged by eight clients at once."""
    api, log = server
    codes, end = Counter(), time.monotonic() + 20

    def send(client, path, body):
        answer = client.post(f"{api}{path}", json=body)
        codes[answer.status_code] += 1
        return answer.json()

    def work(number):
        with httpx.Client(timeout=120) as client:
            flow = send(client, "/flows/", {"name": f"flow-{number}"})["id"]
            while time.monotonic() < end:
                state = {"type": "PENDING"}
                run = send(client, "/flow_runs/", {"flow_id": flow, "state": state})["id"]
                for name in ("RUNNING", "COMPLETED"):
                    send(client, f"/flow_runs/{run}/set_state", {"state": {"type": name}})

    clients = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert set(codes) <= {200, 201}
    assert sum(codes.values()) > 24
    assert "database is locked" not in log.read_text(encoding="utf-8")
