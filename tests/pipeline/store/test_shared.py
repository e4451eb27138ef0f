"""Finished stages that machines share: every machine is a store with a folder of its own."""

import dataclasses
import os
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import fsspec
import pytest
from support.prefect_api import free_port, wait_for

from pipeline.errors import InputError, UnreachableError
from pipeline.store.shared import SharedStages
from pipeline.store.stage import RECORD
from pipeline.store.step import step
from pipeline.store.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    built_by: int


@dataclasses.dataclass(frozen=True)
class Settings:
    calls: str
    """File with a line for every build."""
    seconds: float = 0.0


def build(settings: Settings, out: Path) -> Facts:
    with Path(settings.calls).open("a") as calls:
        calls.write(f"{os.getpid()}\n")
    time.sleep(settings.seconds)
    (out / "deep" / "er").mkdir(parents=True)
    (out / "deep" / "er" / "weights.bin").write_bytes(b"w" * 1000)
    (out / "words.txt").write_text("words")
    return Facts(built_by=os.getpid())


@pytest.fixture(scope="module")
def s3():
    """A bucket's URI on a real S3 API: moto's server, a process of its own."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    port = free_port()
    here = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in here.items():
            patch.setenv(name, value)
        server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)])
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        try:
            wait_for(lambda: _answers(files), seconds=60)
            yield "s3://bucket"
        finally:
            server.kill()
            server.wait()


def _answers(files):
    try:
        files.makedirs("bucket", exist_ok=True)
    except Exception:  # not yet
        return False
    return True


_S3 = pytest.param("s3", marks=[pytest.mark.slow, pytest.mark.system])


@pytest.fixture(params=["file", _S3])
def uri(request, tmp_path):
    """A folder of each kind of place."""
    if request.param == "file":
        return f"file://{tmp_path}/shared"
    return f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}"


@pytest.fixture
def place(uri):
    """Its file system and root, as another program sees them."""
    return fsspec.core.url_to_fs(uri, skip_instance_cache=True, use_listings_cache=False)


@pytest.fixture
def machine(tmp_path, uri):
    """``machine(name)``: the store of a machine that shares its stages."""

    def machine(name, **settings):
        return Store(root=tmp_path / name, shared=SharedStages(uri=uri, **settings))

    return machine


@pytest.fixture
def work(tmp_path):
    """``work(seconds=0)``: a step; ``work.built()`` says how often it was built."""

    def work(seconds=0.0):
        settings = Settings(calls=str(tmp_path / "calls"), seconds=seconds)
        return step("data", build, settings=settings, facts=Facts)

    work.built = lambda: len((tmp_path / "calls").read_text().splitlines())
    return work


def test_stage_of_another_machine_is_fetched_and_equal(machine, work):
    first = machine("a").ensure(work())

    second = machine("b").ensure(work())

    assert work.built() == 1
    assert (second.digest, second.artifacts) == (first.digest, first.artifacts)
    assert second.folder != first.folder
    assert (second.folder / "deep" / "er" / "weights.bin").read_bytes() == b"w" * 1000


def test_stage_without_its_record_is_not_finished(machine, work, place):
    files, root = place
    record = f"{root}/{machine('a').ensure(work()).folder.name}/{RECORD}"
    files.rm_file(record)

    machine("b").ensure(work())

    assert work.built() == 2
    assert files.exists(record)


@pytest.mark.parametrize("damage", ["change", "remove", "add"])
def test_damaged_stage_is_built_anew_and_published_whole(machine, work, place, damage):
    files, root = place
    there = f"{root}/{machine('a').ensure(work()).folder.name}"
    if damage == "remove":
        files.rm_file(f"{there}/words.txt")
    else:
        name = "words" if damage == "change" else "more"
        files.pipe_file(f"{there}/{name}.txt", b"other")

    machine("b").ensure(work())

    assert work.built() == 2
    machine("c").ensure(work())
    assert work.built() == 2


def test_what_was_built_while_the_place_was_away_is_published_later(machine, work, tmp_path):
    Store(root=tmp_path / "a").ensure(work())

    machine("a").ensure(work())
    machine("b").ensure(work())

    assert work.built() == 1


def test_two_machines_at_once_build_once(machine, work):
    found = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(machine(name).ensure(work(2.0))))
        for name in "abc"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert work.built() == 1
    assert len({stage.digest for stage in found}) == 1


def test_lease_of_a_machine_that_died_is_taken_over(machine, work, place):
    files, root = place
    lease = f"{root}/data-{work().key}.lease"
    files.makedirs(root, exist_ok=True)
    files.pipe_file(lease, b"a machine that never writes it again")

    machine("b", lease_seconds=1.0).ensure(work())

    assert work.built() == 1
    assert not files.exists(lease)


def test_lease_of_a_machine_that_works_is_respected(machine, work):
    first = threading.Thread(target=lambda: machine("a", lease_seconds=1.0).ensure(work(4.0)))
    first.start()
    time.sleep(1.0)

    machine("b", lease_seconds=1.0).ensure(work(4.0))
    first.join()

    assert work.built() == 1


@pytest.mark.parametrize("place", ["nothing://a/b", "no such protocol://x"])
def test_unknown_protocol_is_refused(tmp_path, work, place):
    store = Store(root=tmp_path / "a", shared=SharedStages(uri=place))

    with pytest.raises(InputError, match="Give a URI that fsspec knows"):
        store.ensure(work())


def test_place_that_is_away_is_told_with_what_to_do(tmp_path, work):
    (tmp_path / "file").write_text("no folder")
    store = Store(root=tmp_path / "a", shared=SharedStages(uri=f"file://{tmp_path}/file/below"))

    with pytest.raises(UnreachableError, match="does not answer, or refuses"):
        store.ensure(work())
