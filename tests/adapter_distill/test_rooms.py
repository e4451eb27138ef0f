import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.system
def test_module_of_another_project_is_named(tmp_path):
    (tmp_path / "models.py").write_text("MINE = True\n")
    code = f"import sys; sys.path.append({str(ROOT)!r}); import adapter_distill"

    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert f"but Python finds {tmp_path / 'models.py'}. Rename that module" in found.stderr
