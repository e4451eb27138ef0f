import os
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import Sizes, measure
from pipeline.facts.compute import Compute

ROOT = Path(__file__).parents[2]
TINY = Sizes(
    words=200,
    layers=2,
    hidden=32,
    absorbed=64,
    targets=48,
    trained=64,
    compared=64,
    batch_size=16,
)


@pytest.mark.stage
def test_every_part_is_measured_on_any_device():
    rows = dict(measure(Compute(), TINY))

    assert rows["largest difference of an output from the CPU's"] == "0.0e+00"
    assert float(rows["largest difference of a site's held-out R2 from the CPU's"]) < 1e-4
    assert sum("per second" in name for name in rows) == 4


@pytest.mark.system
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_script_says_where_there_is_no_gpu_and_succeeds():
    done = subprocess.run(
        [ROOT / "scripts" / "gpu"],
        env=os.environ | {"PYTHON": str(ROOT / ".venv" / "bin" / "python")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert "no NVIDIA GPU" in done.stdout
