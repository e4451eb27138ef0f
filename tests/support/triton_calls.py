"""Calls of NVIDIA's tritonclient to a server: ``python triton_calls.py http|grpc PORT``.

A process of its own, since its messages and KServe's have the same names. It prints the logits of
each way to ask, and the faults of requests that must be refused, as JSON.
"""

import importlib
import json
import sys

import numpy as np

IDS = np.array([[2, 5, 3], [2, 6, 3]])


def main(kind: str, port: str) -> None:
    """Print what the server answers."""
    module = importlib.import_module(f"tritonclient.{kind}")
    utils = importlib.import_module("tritonclient.utils")

    def inputs(ids):
        made = []
        for name, array in (("input_ids", ids), ("attention_mask", np.ones_like(ids))):
            made.append(module.InferInput(name, list(array.shape), "INT64"))
            made[-1].set_data_from_numpy(array)
        return made

    packed = "request_compression_algorithm" if kind == "http" else "compression_algorithm"
    coded = {"response_compression_algorithm": "gzip"} if kind == "http" else {}
    output, strange = (module.InferRequestedOutput(name) for name in ("logits", "nope"))
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        states = [
            client.is_server_live(),
            client.is_server_ready(),
            client.is_model_ready("tiny"),
            client.is_model_ready("tiny", "0"),
            "binary_tensor_data" in str(client.get_server_metadata()),
            "logits" in str(client.get_model_metadata("tiny", "0")),
            "READY" in str(client.get_model_repository_index()),
        ]
        logits = [
            client.infer("tiny", inputs(IDS), **options).as_numpy("logits").tolist()
            for options in (
                {},
                {"model_version": "0", "outputs": [output]},
                {packed: "gzip"},
                {packed: "deflate", "request_id": "42"},
                coded,
            )
        ]
        faults = []
        for ids, options in (
            (IDS, {"model_version": "7"}),
            (IDS, {"outputs": [strange]}),
            (IDS - 6, {}),
            (np.full((1, 2_000_000), 2), {packed: "gzip"}),
        ):
            try:
                client.infer("tiny", inputs(ids), **options)
                faults.append("answered")
            except utils.InferenceServerException as error:
                faults.append(error.status().removeprefix("StatusCode."))
    print(json.dumps({"states": states, "logits": logits, "faults": faults}))


if __name__ == "__main__":
    main(*sys.argv[1:])
