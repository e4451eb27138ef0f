import json

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.release import (
    mark_refused,
    promote_student,
    register_run,
    release_run,
    roll_back_student,
    stand_against_champion,
)
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.release.forms import PromotionForm, RollbackForm
from pipeline.release.register import register
from pipeline.release.standing import Standing

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def finish(registry, write_run, tmp_path):
    """``finish(task, settings, **run)``: what a task at the chain's end makes of a finished run."""

    def finish(task, settings=None, **run):
        config = RunConfig(
            name="tiny",
            runs_dir=tmp_path / "runs",
            data={"train": "reviews.csv", "labels": ["negative", "positive"]},
            teacher={"model": "tiny-bert"},
            release=settings or {},
        )
        number = len(registry.versions("tiny")) + 1
        folder = write_run(tmp_path / "runs" / f"run-{number}", seed=number, **run)
        return flow(lambda: task(config, folder), name="finish")()

    return finish


def test_a_passed_student_is_registered_as_challenger(registry, finish):
    assert finish(register_run).number == 1
    assert registry.alias("tiny", "challenger") == 1
    assert registry.alias("tiny", "champion") is None


def test_a_released_student_is_the_champion(registry, finish):
    assert finish(release_run)
    assert registry.alias("tiny", "champion") == 1


def test_a_refused_student_is_registered_and_not_promoted(registry, finish):
    assert not finish(release_run, checks=((0.5, 0.01),))
    assert registry.find("tiny", "1").tags["verdict"] == "refused"
    assert registry.alias("tiny", "champion") is None


def test_a_student_worse_than_the_champion_is_no_failure(registry, finish):
    assert finish(release_run, accuracy=0.9)
    assert not finish(release_run, accuracy=0.7)

    assert registry.alias("tiny", "champion") == 1


def test_a_registered_student_is_compared_with_the_champion_before_anybody_is_asked(
    registry, finish
):
    def compare(config, run):
        return stand_against_champion(config, register_run(config, run))

    assert finish(compare) == Standing()
    assert finish(release_run, accuracy=0.9)
    (check,) = finish(compare, accuracy=0.7).checks

    assert check.value == pytest.approx(0.2)
    assert not check.passed
    assert registry.alias("tiny", "champion") == 2


def test_the_champions_page_shows_every_check(finish):
    finish(release_run)
    finish(release_run, accuracy=0.82)

    of_champions = ArtifactFilter(key=ArtifactFilterKey(any_=["champion"]))
    with get_client(sync_client=True) as client:
        pages = [each.data for each in client.read_artifacts(artifact_filter=of_champions)]
    (page,) = (page for page in pages if "| accuracy lost against the champion | -2.00% (" in page)
    assert "version 2\n\nBefore: version 1." in page


def test_a_challenger_that_retraining_refused_is_not_promoted_by_the_form(finish, tmp_path):
    form = {"name": "tiny", "runs_dir": tmp_path / "runs"}
    finish(release_run)
    finish(lambda config, run: mark_refused(config, run, ["It loses too much."]), accuracy=0.82)

    with pytest.raises(InputError, match=r"refused against the champion \(.*It loses too much"):
        promote_student(PromotionForm(**form))

    assert promote_student(PromotionForm(**form, force=True)) == 2


@pytest.mark.parametrize("task", [register_run, release_run])
def test_a_registry_that_does_not_answer_does_not_undo_the_run(finish, monkeypatch, task):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    assert not finish(task, {"registry": "http://127.0.0.1:9"})


def test_promotion_and_roll_back_are_flows_with_forms(registry, write_run, tmp_path):
    where = {"name": "tiny", "runs_dir": tmp_path / "runs"}
    for seed in (1, 2):
        register(registry, write_run(tmp_path / f"run-{seed}", seed=seed))
        assert promote_student(PromotionForm(**where)) == seed

    assert roll_back_student(RollbackForm(**where)) == 1
    schema = json.dumps(promote_student.parameters.model_dump())
    assert "Number or alias of the version" in schema
