import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


# They are run by hand, so that a name that moved would be found months later.
@pytest.mark.parametrize("script", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_script_can_be_imported(script):
    assert importlib.import_module(f"benchmarks.{script}").__doc__
