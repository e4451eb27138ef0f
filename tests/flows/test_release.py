import json

import pytest
from prefect import flow

from flows.release import (
    PromotionForm,
    RollbackForm,
    promote_student,
    release_student,
    roll_back_student,
)
from pipeline.config import RunConfig
from pipeline.register import register

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def finish(registry, write_run, tmp_path):
    """``finish(release, **run)``: what the chain's last task makes of a finished run."""

    def finish(release, **run):
        config = RunConfig(
            name="tiny",
            runs_dir=tmp_path / "runs",
            data={"train": "reviews.csv", "labels": ["negative", "positive"]},
            teacher={"model": "tiny-bert"},
            release=release,
        )
        number = len(registry.versions("tiny")) + 1
        folder = write_run(tmp_path / f"run-{number}", seed=number, **run)
        return flow(lambda: release_student(config, folder), name="finish")()

    return finish


@pytest.mark.parametrize(
    ("promote", "champion"), [("never", None), ("ask", None), ("if-passed", 1)]
)
def test_a_passed_student_is_promoted_only_when_the_config_says_so(
    registry, finish, promote, champion
):
    version = finish({"promote": promote})

    assert version.number == 1
    assert registry.alias("tiny", "champion") == champion


def test_a_refused_student_is_registered_and_not_promoted(registry, finish):
    version = finish({"promote": "if-passed"}, checks=((0.5, 0.01),))

    assert version.tags["verdict"] == "refused"
    assert registry.alias("tiny", "champion") is None


def test_a_student_worse_than_the_champion_is_no_failure(registry, finish):
    finish({"promote": "if-passed"}, accuracy=0.9)
    version = finish({"promote": "if-passed"}, accuracy=0.7)

    assert version.number == 2
    assert registry.alias("tiny", "champion") == 1


def test_a_registry_that_does_not_answer_does_not_undo_the_run(finish, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    assert finish({"registry": "http://127.0.0.1:9"}) is None


def test_promotion_and_roll_back_are_flows_with_forms(registry, write_run, tmp_path):
    where = {"name": "tiny", "runs_dir": tmp_path / "runs"}
    for seed in (1, 2):
        register(registry, write_run(tmp_path / f"run-{seed}", seed=seed))
        assert promote_student(PromotionForm(**where)) == seed

    assert roll_back_student(RollbackForm(**where)) == 1
    schema = json.dumps(promote_student.parameters.model_dump())
    assert "Number or alias of the version" in schema
