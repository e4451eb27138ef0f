import contextlib
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

from flows.up.command import up
from flows.up.installation import Ports, list_services, missing_services
from flows.up.services import check_port
from pipeline.errors import InputError
from pipeline.release.promotion import promote
from pipeline.release.register import register

PORTS = Ports(server=1, mlflow=2, worker=3, student=4)
SLEEP = [sys.executable, "-c", "import subprocess as s; s.run(['sleep', '99'])"]


def test_taken_port_is_told_before_anything_is_started():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(InputError, match=rf"Port {port} for server .* --server-port"):
            check_port("server", port)


def test_state_that_another_one_uses_is_told_before_anything_is_started(tmp_path):
    with FileLock(tmp_path / ".up.lock"), pytest.raises(InputError, match=r"Another .* uses"):
        up(state=tmp_path, server_port=0, mlflow_port=0, student_port=0, worker_port=0)


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
        f"sleep = services.Service(name='sleep', command={SLEEP},\n"
        "                         port=0, health='', address=None)\n"
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
