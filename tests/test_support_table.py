"""docs/support.md says what the code does."""

import os
from pathlib import Path

from support.support_table import render

PAGE = Path(__file__).parents[1] / "docs" / "support.md"


def test_the_table_of_support_is_current():
    """``WRITE_DOCS=1 .venv/bin/pytest tests/test_support_table.py`` writes it anew."""
    found = render()
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(found, encoding="utf-8")

    assert PAGE.read_text(encoding="utf-8") == found
