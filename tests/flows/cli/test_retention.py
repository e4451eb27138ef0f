import json
import os
import time

import pytest
from typer.testing import CliRunner

from flows.cli.main import app


@pytest.fixture
def gc(tmp_path, monkeypatch):
    """``gc(*options)``: what the command prints of two old runs, a log and a stranger."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("20200101-000000-tiny", "20200102-000000-tiny"):
        folder = tmp_path / "runs" / name
        (folder / "student").mkdir(parents=True)
        (folder / "student" / "model.onnx").write_bytes(b"x" * 2_000_000)
        (folder / "report.json").write_text(json.dumps({"run_id": name, "name": "tiny"}))
        (folder / "config.json").write_text(json.dumps({"release": {"register_run": False}}))
    (tmp_path / "runs" / "notes").write_text("x")
    (tmp_path / "logs").mkdir()
    (tmp_path / ".up.lock").touch()
    (tmp_path / "logs" / "server.log").write_bytes(b"x" * 1_500_000)
    os.utime(tmp_path / "logs" / "server.log", (time.time() - 90 * 86400,) * 2)

    def gc(*options):
        found = CliRunner().invoke(
            app, ["gc", "--state", str(tmp_path), "--keep-runs", "1", *options]
        )
        assert found.exit_code == 0, found.output
        return found.output

    return gc


def test_dry_run_lists_what_would_go_with_sizes_and_changes_nothing(gc, tmp_path):
    said = gc()

    runs = tmp_path / "runs"
    assert f"would remove: run {runs}/20200101-000000-tiny (2.0 MB, used" in said
    assert f"kept: run {runs}/20200102-000000-tiny (one of the newest 1 of tiny)" in said
    assert f"unknown, kept: {runs}/notes" in said
    assert f"would cut: log {tmp_path}/logs/server.log (1.5 MB)" in said
    assert "would remove 2, which frees 3.5 MB. Nothing was removed. Give --remove" in said
    assert (runs / "20200101-000000-tiny").is_dir()
    assert (tmp_path / "logs" / "server.log").stat().st_size == 1_500_000


def test_remove_removes_it(gc, tmp_path):
    said = gc("--remove")

    assert "removed 2, which frees 3.5 MB.\n" in said
    assert not (tmp_path / "runs" / "20200101-000000-tiny").exists()
    assert (tmp_path / "runs" / "20200102-000000-tiny").is_dir()
    assert (tmp_path / "logs" / "server.log").stat().st_size == 0
