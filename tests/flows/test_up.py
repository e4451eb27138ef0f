import signal
import socket
import subprocess
import sys

import httpx
import psutil
import pytest

from flows.services import check_port
from flows.up import list_services
from pipeline.errors import InputError


def test_taken_port_is_told_before_anything_is_started():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(InputError, match=rf"Port {port} for server .* --server-port"):
            check_port("server", port)


def test_every_service_listens_on_loopback_and_keeps_its_state_together(tmp_path):
    for service in list_services(tmp_path, server_port=1, worker_port=2):
        assert service.health.startswith("http://127.0.0.1:")
        assert service.environment["PREFECT_HOME"] == str(tmp_path / "prefect")


@pytest.mark.slow
@pytest.mark.xdist_group("operations")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_up_becomes_healthy_and_leaves_nothing_behind(tmp_path, installation_port, how):
    ports = installation_port(), installation_port()
    command = [sys.executable, "-m", "flows.cli", "up", "--state", tmp_path]
    options = ["--server-port", str(ports[0]), "--worker-port", str(ports[1])]
    up = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    said = []
    for line in up.stdout:
        said.append(line)
        if "Ctrl-C stops" in line:
            break
    healthy = httpx.get(f"http://127.0.0.1:{ports[0]}/api/ready").status_code
    children = psutil.Process(up.pid).children(recursive=True)
    up.send_signal(how)
    up.wait(60)
    _, left = psutil.wait_procs(children, timeout=30)

    assert healthy == 200
    assert f"server: http://127.0.0.1:{ports[0]}\n" in said
    assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []
