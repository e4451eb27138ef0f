"""Several processes give what one does: on the CPU, over gloo."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import load_file
from support.shared_work import Shared, make_student, train_until_killed

from pipeline.checkpoints.compute import find_compute
from pipeline.config import ComputeConfig
from pipeline.errors import InputError
from pipeline.facts.compute import Compute
from pipeline.texts.soft_targets import read_soft_targets
from pipeline.texts.tables import read_split
from pipeline.workers.child import BuildKilledError


@pytest.fixture(scope="module")
def shared(tiny_context):
    """``shared(processes, **settings)``: settings of a work."""

    def shared(processes, **settings):
        compute = Compute(processes=processes)
        return Shared(context=replace(tiny_context, compute=compute), **settings)

    return shared


@pytest.fixture(scope="module")
def made(shared, tiny_data, tiny_head_only, tmp_path_factory):
    """``made(processes)``: (facts, folder) of a chain that so many processes made."""
    known = {}

    def made(processes):
        if processes not in known:
            out = tmp_path_factory.mktemp(f"by-{processes}")
            known[processes] = (
                make_student(tiny_data, tiny_head_only, shared(processes), out),
                out,
            )
        return known[processes]

    return made


def tensors(folder):
    (path,) = folder.glob("*.safetensors")
    return load_file(path)


def distance(found, expected):
    """Return the largest difference of two models' tensors, as part of the largest number."""
    assert found.keys() == expected.keys()
    largest = max(abs(tensor).max() for tensor in expected.values())
    return max(abs(found[name] - expected[name]).max() for name in expected) / largest


@pytest.fixture(scope="module")
def gpu():
    """The first NVIDIA GPU."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    return find_compute(ComputeConfig(device="cuda"))


@pytest.mark.gpu
def test_chain_on_a_gpu_gives_what_it_gives_on_the_cpu(
    made, gpu, tiny_context, tiny_data, tiny_head_only, tmp_path
):
    settings = Shared(context=replace(tiny_context, compute=gpu))
    found = make_student(tiny_data, tiny_head_only, settings, tmp_path)

    _, folder = made(1)
    assert found["teacher"].outcome.device == found["absorbed"].device == str(gpu)
    assert distance(tensors(tmp_path / "teacher"), tensors(folder / "teacher")) < 2e-2
    assert distance(tensors(tmp_path / "student"), tensors(folder / "student")) < 5e-2


PROCESSES = [2, pytest.param(3, marks=pytest.mark.slow)]


@pytest.mark.parametrize("processes", PROCESSES)
def test_teacher_of_several_processes_is_that_of_one(made, processes):
    (one, folder), (several, other) = made(1), made(processes)

    curves = [
        [(point.step, point.validation) for point in facts["teacher"].outcome.curve]
        for facts in (one, several)
    ]
    assert [step for step, _ in curves[0]] == [step for step, _ in curves[1]]
    for (_, expected), (_, found) in zip(*curves, strict=True):
        assert found == pytest.approx(expected, abs=1e-3)
    assert distance(tensors(other / "teacher"), tensors(folder / "teacher")) < 1e-2


@pytest.mark.parametrize("processes", PROCESSES)
def test_soft_targets_and_students_of_shards_are_those_of_one_process(made, processes, tiny_data):
    (one, folder), (several, other) = made(1), made(processes)

    texts = read_split(tiny_data.folder, "train").texts
    expected, found = (read_soft_targets(each / "targets", texts) for each in (folder, other))
    np.testing.assert_allclose(found, expected, atol=5e-2)  # of teachers that differ by rounding
    assert one["absorbed"].tokens == several["absorbed"].tokens
    assert [site.site for site in one["absorbed"].sites] == [
        site.site for site in several["absorbed"].sites
    ]
    assert one["student"].outcome.steps == several["student"].outcome.steps
    assert distance(tensors(other / "student"), tensors(folder / "student")) < 5e-2


@pytest.mark.slow  # three trainings, one of them in two processes
def test_process_that_dies_ends_the_stage_and_another_number_goes_on(
    shared, tiny_checkpoint, tmp_path
):
    undisturbed = train_until_killed(tiny_checkpoint, shared(1), tmp_path / "one")

    with pytest.raises(BuildKilledError, match=r"Process 1 .*SIGKILL.*Checkpoints are kept"):
        train_until_killed(tiny_checkpoint, shared(2, die_at=7), tmp_path / "two")
    left = sorted(path.name for path in (tmp_path / "two" / "scratch").iterdir())
    found = train_until_killed(tiny_checkpoint, shared(1), tmp_path / "two")

    assert left == ["checkpoint-4"]
    np.testing.assert_allclose(found["weights"], undisturbed["weights"], atol=2e-3)
    assert found["outcome"].steps == undisturbed["outcome"].steps == 12


@pytest.mark.slow
def test_what_one_process_refuses_is_told_as_it_is(shared, tiny_checkpoint, tmp_path):
    with pytest.raises(InputError, match="no such label"):
        train_until_killed(tiny_checkpoint, shared(2, problem="no such label"), tmp_path)


_RUN = """
import pickle, sys
from pathlib import Path
from pipeline.workers.child import BuildProcess

with BuildProcess() as process:
    process.run("finetune", pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_no_process_survives_a_run_that_is_killed(shared, tiny_checkpoint, tmp_path):
    work = partial(train_until_killed, tiny_checkpoint, shared(2, seconds_per_batch=0.3))
    (tmp_path / "work").write_bytes(pickle.dumps(work))
    root = Path(__file__).parents[3]
    run = subprocess.Popen(
        [sys.executable, "-c", _RUN, tmp_path / "work", tmp_path],
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
    )
    wait_for(lambda: (tmp_path / "scratch" / "checkpoint-4" / "checkpoint-is-whole").exists())
    started = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(signal.SIGKILL)
    run.wait()

    assert len(started) >= 3  # the stage's child and its two processes
    wait_for(lambda: not any(is_alive(process) for process in started))


def wait_for(condition):
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
