import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

SCRIPT = (
    "import subprocess, sys, time\n"
    "from pipeline.workers.guardian import start_guardian\n"
    "before = subprocess.Popen(['sleep', '99'])\n"
    "start_guardian()\n"
    "stubborn = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(99)'\n"
    "after = [subprocess.Popen(['sleep', '99'], start_new_session=True)]\n"
    "after += [subprocess.Popen([sys.executable, '-c', stubborn]) for _ in sys.argv[1:]]\n"
    "print(before.pid, *(each.pid for each in after), flush=True)\n"
    "time.sleep(99)\n"
)


def is_running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "more", [[], pytest.param(["stubborn"], marks=pytest.mark.slow)], ids=["polite", "stubborn"]
)
def test_killed_command_leaves_nothing_that_it_started_under_its_guardian(more):
    command = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *more], stdout=subprocess.PIPE, text=True
    )
    before, *after = map(int, command.stdout.readline().split())
    try:
        assert all(map(is_running, after))
        command.kill()
        command.wait()
        deadline = time.monotonic() + 60
        while any(map(is_running, after)) and time.monotonic() < deadline:
            time.sleep(0.1)

        assert not any(map(is_running, after))
        assert is_running(before)  # it has no mark
    finally:
        command.stdout.close()
        os.kill(before, signal.SIGKILL)
