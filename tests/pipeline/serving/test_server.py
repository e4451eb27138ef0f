import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time

import grpc
import pytest

from pipeline.release.promotion import promote, roll_back
from pipeline.release.register import register
from pipeline.serving.kserve_parts import messages as pb
from pipeline.serving.kserve_parts import service


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
            "the champion could not be loaded; the previous model is still served"
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
