import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import pytest

from pipeline.release.promotion import promote, roll_back
from pipeline.release.register import register
from pipeline.serving import protocol  # noqa: F401 # kserve's parser reads argv at its first import

from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # isort: skip
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service  # isort: skip


class Running:
    """A server process and what it logged."""

    def __init__(self, *options, pass_fds=()):
        command = [sys.executable, "-m", "flows.cli.main", "serve", *map(str, options)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, pass_fds=pass_fds, env=environment
        )
        self.events = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            with self._changed:
                self.events.append(json.loads(line) if line.startswith("{") else {"event": line})
                self._changed.notify_all()

    def wait_for(self, event, **facts):
        """Return the first such event."""

        def found():
            wanted = ({"event": event} | facts).items()
            return next((each for each in self.events if wanted <= each.items()), None)

        with self._changed:
            assert self._changed.wait_for(found, timeout=60), self.events
            return found()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def start():
    """``start(*options)``: a running server."""
    with contextlib.ExitStack() as stack:

        def start(*options, **more):
            running = Running(*options, **more)
            stack.callback(running.process.wait, 60)
            stack.callback(running.process.kill)
            return running

        yield start


@contextlib.contextmanager
def clients(port, count=3):
    """Ask all the time; the context gives the list of all that was not answered with 200."""
    failures, answered, stop = [], [], threading.Event()

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not stop.is_set():
            try:
                connection.request(
                    "POST",
                    "/v2/models/tiny/texts",
                    json.dumps({"texts": ["good film"]}),
                    {"content-type": "application/json"},
                )
                answer = connection.getresponse()
                content = answer.read()
                if answer.status == 200:
                    answered.append(json.loads(content)["model_version"])
                else:
                    failures.append((answer.status, content))
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)
                connection.close()

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield failures, answered
    stop.set()
    for thread in threads:
        thread.join()


def test_a_server_follows_the_champion_without_a_lost_request(registry, write_run, tmp_path, start):
    for seed in (1, 2):
        register(registry, write_run(tmp_path / f"run-{seed}", seed=seed))
    promote(registry, "tiny", "1")
    server = start("tiny", "--runs-dir", tmp_path / "runs", "--port", 0, "--poll", 0.1)
    port = server.wait_for("listening")["port"]
    server.wait_for("serving", version=1)

    with clients(port) as (failures, answered):
        promote(registry, "tiny", "2")
        server.wait_for("serving", version=2)
        roll_back(registry, "tiny")
        server.wait_for("serving", version=1, was=2)
        # A champion that is damaged behind the registry's back is not served.
        folder = registry.fetch(registry.find("tiny", "2"))
        (folder / "onnx" / "model.onnx").write_bytes(b"damaged")
        registry.point("tiny", "champion", 2)
        failed = server.wait_for(
            "the champion could not be loaded; what was served before is served on"
        )
        time.sleep(0.2)

    assert failures == []
    assert {"1", "2"} == set(answered)
    assert answered[-1] == "1"
    assert "model.onnx" in failed["reason"]
    assert server.stop() == 0


def test_a_second_server_takes_over_without_a_lost_request(sealed, start):
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        fd = listening.fileno()
        options = ("--bundle", f"tiny={sealed()}", "--fd", fd)
        first = start(*options, pass_fds=[fd])
        first.wait_for("listening")

        with clients(listening.getsockname()[1]) as (failures, answered):
            second = start(*options, pass_fds=[fd])
            second.wait_for("listening")
            code = first.stop()
            before = len(answered)
            time.sleep(0.5)

        assert failures == []
        assert code == 0
        assert len(answered) > before
        assert second.stop() == 0


def test_grpc_gives_the_same_logits_and_asks_for_the_token(sealed, start, monkeypatch):
    monkeypatch.setenv("ADAPTER_DISTILL_TOKEN", "s3cret")
    server = start("--bundle", f"tiny={sealed()}", "--port", 0, "--grpc-port", 0)
    port = server.wait_for("listening")["grpc_port"]
    request = pb.ModelInferRequest(model_name="tiny")
    for name, data in (("input_ids", [2, 5, 3]), ("attention_mask", [1, 1, 1])):
        tensor = request.inputs.add(name=name, datatype="INT64", shape=[1, 3])
        tensor.contents.int64_contents.extend(data)
    token = [("authorization", "Bearer s3cret")]

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request, metadata=token, timeout=30)
        codes = []
        request.inputs[0].shape[1] = 7
        unload = pb.RepositoryModelUnloadRequest(model_name="tiny")
        for call, message, metadata in (
            (stub.ModelInfer, request, token),
            (stub.ModelInfer, request, []),
            (stub.RepositoryModelUnload, unload, token),
        ):
            with pytest.raises(grpc.RpcError) as fault:
                call(message, metadata=metadata, timeout=30)
            codes.append(fault.value.code().name)

    assert list(answer.outputs[0].shape) == [1, 2]
    assert codes == ["INVALID_ARGUMENT", "UNAUTHENTICATED", "UNIMPLEMENTED"]
    assert all("s3cret" not in json.dumps(each) for each in server.events)
    assert server.stop() == 0


def test_a_taken_port_and_nothing_to_serve_are_bad_input(sealed, start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start("--bundle", f"tiny={sealed()}", "--port", port)

        assert server.process.wait(60) == 2
    assert start().process.wait(60) == 2


def test_the_server_imports_nothing_large_that_it_does_not_need():
    script = (
        "import sys, pipeline.serving.server;"
        "large = {'torch', 'transformers', 'mlflow', 'prefect', 'pyarrow', 'scipy', 'sklearn'};"
        "print(*sorted(large & set(sys.modules)))"
    )

    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == ""
