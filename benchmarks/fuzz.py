"""Many damaged requests, configs and bundles: none may crash the process or be answered with a 500.

    python benchmarks/fuzz.py BUNDLE [--count 100000] [--seed 0]

Three quarters are requests to the application in this process, the rest configs and bundles.
Bundles are damaged and their manifest made to agree, so that only the loaders can refuse them.
"""

import argparse
import asyncio
import collections
import json
import random
import shutil
import tempfile
from pathlib import Path

import httpx

from pipeline.config.load import load_config
from pipeline.errors import InputError
from pipeline.inference.classifier import PARTS
from pipeline.release.bundle import GOLDEN, MANIFEST, open_bundle
from pipeline.serving.application import make_application
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.protocol import Plane, Student
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import install, load_fixed, make_slot
from pipeline.store.digests import sha256_file

CONFIG = Path(__file__).parents[1] / "configs" / "smoke.toml"
ODD = (
    "",
    "\x00",
    "\ud800",
    "../../etc/passwd",
    "[PAD]",
    "\U0001f600",
    "a" * 3000,
    "NaN",
    "{{7*7}}",
)


def main() -> None:
    """Send everything and print what came back."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="a sealed bundle")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    requests, others = options.count * 3 // 4, options.count // 8
    counts = asyncio.run(_requests(options.bundle, rng, requests))
    counts |= {f"config {kind}": n for kind, n in _configs(rng, others).items()}
    counts |= {f"bundle {kind}": n for kind, n in _bundles(options.bundle, rng, others).items()}
    print(json.dumps(counts, indent=2))


async def _requests(bundle: Path, rng: random.Random, count: int) -> dict[str, int]:
    settings = ServeSettings(bundles={"m": bundle}, threads=1, max_body_bytes=20_000)
    metrics = ServerMetrics()
    slot = make_slot("m", settings, metrics)
    install(slot, load_fixed(bundle, threads=1), metrics)
    names = [each.name for each in load_fixed(bundle, threads=1).classifier.session.get_inputs()]
    app = make_application(Plane([Student(slot, settings)]), settings, metrics)
    answering = asyncio.create_task(slot.batcher.run())
    statuses: collections.Counter[str] = collections.Counter()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://fuzz") as client:
        for _ in range(count):
            path = rng.choice(("/v2/models/m/infer", "/v2/models/m/texts", "/v2/models/x/infer"))
            body = _body(rng, names)
            kind = rng.choice(("application/json", "application/octet-stream", "text/plain"))
            headers = {"content-type": kind}
            if rng.random() < 0.1:
                headers["inference-header-content-length"] = str(rng.randint(-5, 300))
            answer = await client.post(path, content=body, headers=headers)
            statuses[f"request {answer.status_code}"] += 1
            if answer.status_code == 500:
                raise SystemExit(f"500 for {path} {headers} {body!r}")
    answering.cancel()
    slot.batcher.close()
    return dict(statuses)


def _body(rng: random.Random, names: list[str]) -> bytes:
    shape = [rng.randint(1, 3), rng.randint(1, 8)]
    tensors = [
        {
            "name": name,
            "shape": shape,
            "datatype": "INT64",
            "data": [rng.randint(0, 1) for _ in range(shape[0] * shape[1])],
        }
        for name in names
    ]
    whole = rng.choice(
        ({"inputs": tensors}, {"texts": [rng.choice(ODD) for _ in range(rng.randint(0, 4))]})
    )
    for _ in range(rng.randint(0, 2)):
        _damage(whole, rng)
    body = bytearray(json.dumps(whole).encode())
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body)


def _damage(value: object, rng: random.Random) -> None:
    """Replace one thing somewhere in a JSON value."""
    odd = (None, True, -1, 2**70, 1e400, [], {}, *ODD)
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        inner = value[key]
        if rng.random() < 0.4 or not isinstance(inner, dict | list) or not inner:
            value[key] = rng.choice(odd)
            return
        value = inner


def _configs(rng: random.Random, count: int) -> dict[str, int]:
    outcomes: collections.Counter[str] = collections.Counter()
    original = CONFIG.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        for _ in range(count):
            content = bytearray(original)
            for _ in range(rng.randint(1, 6)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            path.write_bytes(content)
            try:
                load_config(path)
                outcomes["read"] += 1
            except InputError:
                outcomes["refused"] += 1
    return dict(outcomes)


def _bundles(bundle: Path, rng: random.Random, count: int) -> dict[str, int]:
    outcomes: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(bundle, Path(folder) / "student")
        manifest = (copy / MANIFEST).read_bytes()
        model = json.loads(manifest)["model"]
        for _ in range(count):
            path = rng.choice((MANIFEST, GOLDEN, model, *PARTS))
            content = bytearray((bundle / path).read_bytes())
            for _ in range(rng.randint(1, 6)):
                content[rng.randrange(len(content))] = rng.randrange(256)
            (copy / path).write_bytes(content)
            if path != MANIFEST:
                listed = json.loads(manifest)
                for file in listed["files"]:
                    if file["path"] == path:
                        file["sha256"] = sha256_file(copy / path)
                (copy / MANIFEST).write_text(json.dumps(listed))
            try:
                open_bundle(copy, threads=1).outputs([("good film",)])
                outcomes["loaded"] += 1
            except InputError:
                outcomes["refused"] += 1
            shutil.copyfile(bundle / path, copy / path)
            (copy / MANIFEST).write_bytes(manifest)
    return dict(outcomes)


if __name__ == "__main__":
    main()
