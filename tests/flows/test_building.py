from pathlib import Path

import pytest
from prefect import flow

from flows.building import building
from pipeline.config import RunConfig
from pipeline.facts.training import SoftTargetFacts
from pipeline.store.step import step

pytestmark = pytest.mark.xdist_group("prefect")


def write_facts(_settings: dict, folder: Path) -> SoftTargetFacts:
    (folder / "file").write_text("built")
    return SoftTargetFacts(texts=1, outputs=2)


@flow
def build(root: Path) -> Path:
    config = {"data": {"train": "a.csv", "labels": ["a", "b"]}, "teacher": {"model": "a"}}
    with building(RunConfig.model_validate(config | {"runs_dir": root})) as store:
        return store.ensure(step("data", write_facts, settings={}, facts=SoftTargetFacts)).folder


@flow
def build_as_a_part(root: Path) -> Path:
    return build(root)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("run", [build, build_as_a_part], ids=["flow", "part of a flow"])
def test_what_is_started_by_hand_needs_no_limits(tmp_path, run):
    folder = run(tmp_path)

    assert (folder / "file").read_text() == "built"
