import pytest
from prefect import flow

from flows.retrain import compare_with
from flows.retraining_report import show_decision
from pipeline.release.challenge import ChallengeConfig, choose
from pipeline.reporting.report import Report

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def test_challenger_is_held_against_the_champion_and_the_page_says_how(smoke_run):
    """The smoke run's student against itself: nothing is lost on its 24 test texts."""
    report = Report.model_validate_json((smoke_run / "report.json").read_text(encoding="utf-8"))
    rule = ChallengeConfig()

    paired = compare_with.fn(smoke_run, smoke_run, rule)
    choice = choose(paired, passed=True, is_first=False, rule=rule)
    page = flow(
        lambda: show_decision(report, smoke_run, paired, choice, (), None), name="show-decision"
    )()

    assert (paired.texts, paired.p_value) == (24, 1.0)
    assert choice.replaces
    assert "takes the champion's place" in page
    assert "| right where the other is wrong | 0 | 0 | McNemar p = 1 |" in page
    held = "| accuracy lost against the champion | 0.00% (0.00% to 0.00%) | surely at most 1.00% |"
    assert held in page
