import io
import logging
import time

import pytest
from tqdm.auto import tqdm

from pipeline.workers.heartbeat import heartbeat


@pytest.fixture
def listen():
    """``listen(work)``: what is said while ``work()`` runs, which may be silent for so long."""

    def listen(work, seconds=0.1):
        lines = []
        with heartbeat("step", say=lines.append, seconds=seconds):
            work()
        return lines

    return listen


def test_silent_step_gives_a_sign_again_and_again(listen):
    lines = listen(lambda: time.sleep(1))

    assert len(lines) > 1
    assert lines[0] == "step: 0 s so far"


def test_step_that_logs_gives_none(listen):
    def work():
        for _ in range(200):
            logging.getLogger("pipeline.x").warning("done")
            time.sleep(0.01)

    # A busy machine may stop this process for some tenths of a second.
    assert listen(work, seconds=1.5) == []


def test_step_with_a_bar_gives_none(listen):
    def work():
        with tqdm(total=1, file=io.StringIO()):
            time.sleep(3)

    assert listen(work, seconds=1.5) == []


def test_bar_that_is_not_shown_does_not_count(listen):
    def work():
        with tqdm(total=1, disable=True):
            time.sleep(0.5)

    assert listen(work) != []


def test_end_of_the_step_ends_the_signs(listen):
    lines = listen(lambda: None)
    time.sleep(0.3)

    assert lines == []
