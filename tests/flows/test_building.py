from pathlib import Path

import pytest
from prefect import flow

from flows.building import building
from pipeline.facts.training import SoftTargetFacts

pytestmark = pytest.mark.xdist_group("prefect")


def write_facts(folder: Path) -> SoftTargetFacts:
    (folder / "file").write_text("built")
    return SoftTargetFacts(texts=1, classes=2)


@flow
def build(root: Path) -> Path:
    with building(root) as store:
        return store.ensure("data", write_facts, SoftTargetFacts, settings={}).folder


@flow
def build_as_a_part(root: Path) -> Path:
    return build(root)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("run", [build, build_as_a_part], ids=["flow", "part of a flow"])
def test_what_is_started_by_hand_needs_no_limits(tmp_path, run):
    folder = run(tmp_path)

    assert (folder / "file").read_text() == "built"
