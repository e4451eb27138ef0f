"""A folder as the examples of docstrings and README expect it: a run, texts, adapters, a config."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.chain.finished import FinishedStages
from pipeline.texts.tables import read_split

SMOKE = Path(__file__).parents[2] / "configs" / "smoke.toml"


@pytest.fixture
def examples_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seeded_runs: Callable[[], Path],
    smoke_stages: FinishedStages,
    smoke_overrides: list[str],
    hub_adapter: Callable[..., Path],
) -> Path:
    """The current folder, filled; its models and texts are tiny, and its stages finished."""
    monkeypatch.chdir(tmp_path)
    seeded_runs().rename(tmp_path / "runs")
    run = tmp_path / "runs" / "20260101-000000-smoke"
    run.mkdir()
    (run / "finetune").symlink_to(smoke_stages.teacher.folder)
    (run / "student").symlink_to(smoke_stages.shipped.folder / "student")
    (tmp_path / "runs" / "latest").symlink_to(run.name)
    texts = [text for (text,) in read_split(smoke_stages.data.folder, "train").texts]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    hub_adapter(tmp_path / "hub-adapter", "task")
    model, data = (each.partition("=")[2] for each in smoke_overrides)
    (tmp_path / "tiny-bert").symlink_to(model)
    config = SMOKE.read_text(encoding="utf-8")
    config = config.replace("./tiny-bert", model).replace("reviews.csv", data)
    (tmp_path / "smoke.toml").write_text(config, encoding="utf-8")
    return tmp_path
