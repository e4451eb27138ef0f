"""A real installation under everything that can happen to it, for as long as one likes.

``scripts/soak`` runs it for two hours, ``scripts/slow`` and ``scripts/faults`` for ten minutes.
"""

import os
import random
import time

import pytest
from support.installations import starting
from support.smoke_runs import SMOKE
from support.soak import STUDENT, Soak

from pipeline.config.load import load_config

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("soak")]

MINUTES = float(os.environ.get("SOAK_MINUTES", "10"))
SEED = int(os.environ.get("SOAK_SEED", "0"))


@pytest.fixture
def installation(tmp_path):
    """An installation of its own."""
    with starting(tmp_path, f"--student={STUDENT}") as found:
        yield found


def test_whatever_happens_the_installation_stays_true(installation, smoke_overrides):
    runs = f"runs_dir={installation.state / 'runs'}"

    def make_config(*overrides):
        return load_config(SMOKE, [*smoke_overrides, runs, *overrides]).model_dump(mode="json")

    soak = Soak(installation=installation, make_config=make_config, rng=random.Random(SEED))
    soak.train()
    assert installation.wait(soak.runs[0], seconds=600)["type"] == "COMPLETED"
    soak.wait_for_the_champion()
    soak.load.start()
    end_s = time.monotonic() + 60 * MINUTES
    try:
        while time.monotonic() < end_s:
            soak.take_a_step()
            time.sleep(soak.rng.uniform(0, 10))
        soak.come_to_rest()
    finally:
        soak.load.is_over.set()
        print("\n".join(soak.story))  # what led to a failure
    soak.load.join()

    assert soak.unexcused() == []
    assert soak.load.answered > MINUTES
