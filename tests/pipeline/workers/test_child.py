import contextlib
import logging
import os
import signal
import threading
import time
from functools import partial

import psutil
import pytest
from support.builds import hang, loaded_module, start_grandchild, write_pid

from pipeline.config import AdapterConfig, TrainingConfig
from pipeline.errors import InputError
from pipeline.facts.training import TeacherFacts
from pipeline.stages.finetune import FinetuneSettings, finetune
from pipeline.store.step import step
from pipeline.store.store import Store
from pipeline.workers.child import BuildKilledError, BuildProcess, build_process, prepared_child


def is_alive(group):
    """Tell whether a process of a group still runs; zombies wait for whoever adopted them."""
    states = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group:
                states.append(process.status())
    return any(state != psutil.STATUS_ZOMBIE for state in states)


def test_builds_share_one_child_and_their_records_arrive(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pipeline")
    with BuildProcess() as process:
        first = process.run("a", write_pid, tmp_path)
        second = process.run("b", write_pid, tmp_path)

    assert first == second != os.getpid()
    assert caplog.messages == ["at work", "at work"]
    assert not is_alive(first)


def test_prepared_child_has_imported_and_builds_in_every_block(tmp_path):
    with prepared_child(imports=["colorsys"]):
        with build_process() as process:
            first = process.run("a", write_pid, tmp_path)
            assert process.run("b", partial(loaded_module, name="colorsys"), tmp_path)
        with build_process() as process:
            assert process.run("c", write_pid, tmp_path) == first

    assert not is_alive(first)
    with build_process() as process:
        assert process.run("d", write_pid, tmp_path) != first


def test_prepared_child_without_a_build_is_killed_in_its_imports(tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    slow = tmp_path / "slow_to_import.py"
    slow.write_text(f"import time; open({str(begun)!r}, 'w').close(); time.sleep(600)")
    monkeypatch.syspath_prepend(tmp_path)

    with prepared_child(imports=[slow.stem]), build_process() as process:
        child = process.pid
        while not begun.exists():
            time.sleep(0.05)

    assert not is_alive(child)


def test_failed_build_raises_what_it_raised_and_leaves_no_process(tmp_path):
    with BuildProcess() as process:
        child = process.run("a", write_pid, tmp_path)
        with pytest.raises(InputError, match="bad input"):
            process.run("b", start_grandchild, tmp_path)

        deadline = time.monotonic() + 30  # a killed process dies when its turn comes
        while is_alive(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(child)


def test_killed_child_is_named_with_its_signal(tmp_path):
    with BuildProcess() as process:
        child = process.run("a", write_pid, tmp_path)
        threading.Timer(0.2, os.kill, (child, signal.SIGKILL)).start()
        with pytest.raises(BuildKilledError, match=r"stage b died \(SIGKILL"):
            process.run("b", hang, tmp_path)

        assert process.run("c", write_pid, tmp_path) != child


@pytest.mark.slow  # test_trainer.py kills a training in the quick suite
def test_training_killed_between_two_checkpoints_ends_as_if_it_had_not_been(
    tmp_path, tiny_data, tiny_head_only, tiny_context
):
    settings = FinetuneSettings(
        context=tiny_context,
        # Nine steps an epoch: a quarter of them is no divisor.
        training=TrainingConfig(
            epochs=8, patience=99, batch_size=8, evaluations_per_epoch=1, precision="fp32"
        ),
        adapter=AdapterConfig(bottleneck_size=8),
    )
    training = step(
        "finetune", finetune, tiny_data, tiny_head_only, settings=settings, facts=TeacherFacts
    )

    def ensure(process, root):
        return Store(root=root, builder=process.run).ensure(training)

    def kill_at_a_checkpoint(process):
        while not list(tmp_path.glob("killed/finetune-*/scratch/checkpoint-*/*-is-whole")):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)

    with BuildProcess() as process:
        undisturbed = ensure(process, tmp_path / "undisturbed")
        threading.Thread(target=kill_at_a_checkpoint, args=(process,)).start()
        with pytest.raises(BuildKilledError):
            ensure(process, tmp_path / "killed")
        resumed = ensure(process, tmp_path / "killed")

    assert resumed.facts.outcome == undisturbed.facts.outcome
    assert resumed.digest == undisturbed.digest
