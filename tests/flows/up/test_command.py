import contextlib
import inspect
import itertools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from filelock import FileLock
from support.prefect_api import free_port

from flows.up.command import up
from flows.up.installation import Ports, list_services, missing_services
from flows.up.services import Service, check_ports
from pipeline.errors import InputError
from pipeline.release.promotion import promote
from pipeline.release.register import register
from pipeline.serving.settings import ServeSettings

PORTS = Ports(server=1, mlflow=2, worker=3, student=4)
SLEEP = [sys.executable, "-c", "import subprocess as s; s.run(['sleep', '99'])"]
SLEEPING = {
    "name": "sleep",
    "command": SLEEP,
    "port": 0,
    "health": "",
    "address": None,
    "usual_s": 0,
}


@pytest.fixture
def start(tmp_path):
    """``start(**options)``: `up` with options, on free ports, in a new state folder."""

    def start(**options):
        ports = {f"{name}_port": free_port() for name in ("server", "mlflow", "student", "worker")}
        up(state=tmp_path / "state", **(ports | options))

    return start


def test_taken_port_is_refused_before_anything_is_started(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(InputError, match=rf"Port {port} for server .* --server-port"):
            start(server_port=port)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("one", "other"), itertools.combinations(("server", "student", "worker"), 2)
)
def test_port_of_two_services_is_refused_before_anything_is_started(start, tmp_path, one, other):
    port = free_port()

    with pytest.raises(InputError, match=rf"--.*-port and --.*-port are both {port}"):
        start(**{f"{one}_port": port, f"{other}_port": port})
    assert not (tmp_path / "state").exists()


def test_every_wrong_port_is_named_at_once():
    listed = [Service(**SLEEPING | {"name": name, "port": 4200}) for name in ("a", "b", "c")]

    with pytest.raises(InputError) as refused:
        check_ports(listed)

    assert str(refused.value).count("are both 4200") == 2


def test_default_ports_differ_from_each_other_and_from_those_of_serve():
    parameters = inspect.signature(up).parameters
    ports = [each.default for name, each in parameters.items() if name.endswith("_port")]
    ports.append(ServeSettings().http_port)

    assert len(ports) == len(set(ports)) == 5


@pytest.mark.parametrize("name", ["../x", "", "Demo", "a b", "-x"])
def test_bad_name_of_a_student_is_refused_before_anything_is_started(start, tmp_path, name):
    with pytest.raises(InputError, match="is not a student's name"):
        start(students=["demo", name])
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("given", ["0", "two", "-1", "1.5", ""])
def test_bad_number_of_slots_is_refused_before_anything_is_started(start, monkeypatch, given):
    monkeypatch.setenv("ADAPTER_DISTILL_SLOTS", given)

    with pytest.raises(InputError, match=r"ADAPTER_DISTILL_SLOTS is .*at least 1"):
        start()


def test_state_that_another_one_uses_is_refused_before_anything_is_started(start, tmp_path):
    (tmp_path / "state").mkdir()
    with (
        FileLock(tmp_path / "state" / ".up.lock"),
        pytest.raises(InputError, match=r"Another .* uses"),
    ):
        start()


def test_every_service_listens_on_loopback_and_keeps_its_state_together(tmp_path):
    first, then = list_services(tmp_path, PORTS, ["demo"])

    assert {"server", "worker"} <= {service.name for service in (*first, *then)}
    for service in (*first, *then):
        assert service.health.startswith("http://127.0.0.1:")
        assert service.environment["PREFECT_HOME"] == str(tmp_path / "prefect")
        assert service.environment["MLFLOW_TRACKING_URI"].startswith(f"sqlite:///{tmp_path}/")


@pytest.fixture
def supervisor(tmp_path):
    """A process that supervises one service: ``sleep``, started by a process of its own."""
    script = (
        "import sys; from pathlib import Path; from flows.up import services, supervision as s\n"
        f"sleep = services.Service(**{SLEEPING})\n"
        # Also where this test runs in the background of a shell, with SIGINT ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "logs = Path(sys.argv[1]); services.adopt_orphans()\n"
        "running = [s.Running(service=sleep, process=services.start(sleep, logs))]\n"
        "try: s.supervise(running, logs, lambda text: print(text, flush=True))\n"
        "except KeyboardInterrupt: pass\n"
        "finally: services.stop([running[0].process]); services.end_orphans()\n"
    )
    process = psutil.Popen(
        [sys.executable, "-c", script, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    yield process
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def wait_for_sleep(process, wait_for):
    """Return the service and its child once both are there."""
    return wait_for(lambda: len(found := process.children(recursive=True)) == 2 and found)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_end_of_the_supervisor_is_the_end_of_its_services(supervisor, wait_for, how):
    service, child = wait_for_sleep(supervisor, wait_for)
    supervisor.send_signal(how)
    supervisor.wait(30)

    # Of a killed one its services are told; what these started is theirs to end.
    wait_for(lambda: not service.is_running() or service.status() == psutil.STATUS_ZOMBIE)
    if how == signal.SIGINT:
        assert not child.is_running()


def test_service_that_ends_is_told_and_started_again(supervisor, wait_for):
    service, child = wait_for_sleep(supervisor, wait_for)
    service.kill()
    told = supervisor.stdout.readline()
    again, _ = wait_for_sleep(supervisor, wait_for)

    assert "sleep ended by itself (exit code -9): started again in 1 s." in told
    assert again.pid != service.pid
    assert not child.is_running()


@pytest.mark.slow
@pytest.mark.xdist_group("operations")
class TestStudentServer:
    """With an installation whose students have no champion yet."""

    def test_every_service_is_healthy_and_told_with_its_address(self, installation):
        said = (installation.state / "up.log").read_text()

        assert missing_services() == {}, "the slow tests need the extras serve and tracking"
        for name, path in (("server", ""), ("mlflow", ""), ("student", "/v2/models")):
            port = getattr(installation.ports, name)
            assert f"{name}: http://127.0.0.1:{port}{path}\n" in said
            assert installation.is_ready(name)

    def test_first_champion_is_served_and_seen_in_mlflow(self, installation, write_run, tmp_path):
        student = f"http://127.0.0.1:{installation.ports.student}/v2"
        before = httpx.get(f"{student}/health/ready").status_code
        register(installation.registry, write_run(tmp_path / "run", name="smoke"))
        promote(installation.registry, "smoke")
        installation.wait_for(lambda: httpx.get(f"{student}/health/ready").status_code == 200)
        answer = httpx.post(f"{student}/models/smoke/texts", json={"texts": ["good"]})
        mlflow = f"http://127.0.0.1:{installation.ports.mlflow}/api/2.0/mlflow"
        listed = httpx.get(f"{mlflow}/registered-models/get", params={"name": "smoke"}).json()

        assert before == 503
        assert answer.status_code == 200, answer.text
        assert [each["alias"] for each in listed["registered_model"]["aliases"]] == ["champion"]

    def test_killed_worker_is_started_again(self, installation):
        worker = installation.service("worker")
        worker.kill()

        installation.wait_for_return("worker", worker)
