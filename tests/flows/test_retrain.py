from functools import partial
from pathlib import Path

import httpx
import pytest
from prefect import flow

from flows.page.retraining import show_decision
from flows.retrain import retrain
from pipeline.config.load import load_config
from pipeline.release.against_champion import compare_with
from pipeline.release.challenge import ChallengeConfig, choose_champion
from pipeline.release.champion import find_champion
from pipeline.release.registry import open_registry
from pipeline.report.report import Report
from pipeline.texts.tables import read_split

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def test_challenger_is_held_against_the_champion_and_the_page_says_how(smoke_run):
    """The smoke run's student against itself: nothing is lost on its 24 test texts."""
    report = Report.model_validate_json((smoke_run / "report.json").read_text(encoding="utf-8"))
    rule = ChallengeConfig()

    paired = compare_with(smoke_run, smoke_run, rule)
    choice = choose_champion(paired, metric="accuracy", passed=True, is_first=False, rule=rule)
    show = partial(show_decision, metric="accuracy")
    page = flow(lambda: show(report, smoke_run, paired, choice, (), None), name="show-decision")()

    assert (paired.texts, paired.p_value) == (24, 1.0)
    assert choice.replaces
    assert "takes the champion's place" in page
    assert "| texts on which it is better | 0 | 0 | sign test, p = 1 |" in page
    held = "| accuracy lost against the champion | 0.00% (0.00% to 0.00%) | significantly at most"
    assert held in page


@pytest.mark.slow
def test_nights_of_retraining(tmp_path, smoke_overrides, tiny_csv, prefect_server):
    """A first champion, a night without news, a challenger from its adapters, and no second try."""
    table = tmp_path / "reviews.csv"
    table.write_text(tiny_csv.read_text(encoding="utf-8"), encoding="utf-8")
    overrides = [*smoke_overrides, f"data.train={table}", f"runs_dir={tmp_path}"]

    def night():
        """Return the retraining's state and its page."""
        config = load_config(Path("configs/smoke.toml"), overrides)
        state = retrain(config, rule=ChallengeConfig(max_metric_loss=0.9), return_state=True)
        assert state.is_completed(), state.message
        wanted = {"artifacts": {"key": {"any_": ["retraining"]}}, "sort": "CREATED_DESC"}
        pages = httpx.post(f"{prefect_server}/artifacts/filter", json=wanted).json()
        return state, pages[0]["data"]

    def champion():
        return find_champion(open_registry(None, tmp_path), "smoke", tmp_path)

    state, page = night()
    first = champion()
    assert f"{first.name} replaces the champion" in state.message
    assert "There was no champion before." in page
    assert "The challenger started from new adapters." in page

    state, page = night()
    assert (state.name, champion()) == ("NothingToDo", first)
    assert f"those that the champion {first.name} was made of" in page

    with table.open("a", encoding="utf-8") as file:
        file.writelines(f"{'good fine ' * number} film,positive,press\n" for number in range(40))
    state, page = night()
    second = champion()
    assert second != first
    assert f"{second.name} replaces the champion" in state.message
    assert f"Champion before: `{first.name}`" in page
    assert "The challenger started from the champion's adapters." in page
    assert "### The same 30 held-out texts" in page  # the champion's 24, and 24/160 of the new
    trained_on = set(read_split(first / "data", "train").texts)
    assert trained_on < set(read_split(second / "data", "train").texts)
    assert "**drifted**" in page.partition("| part of the commonest label |")[2].splitlines()[0]

    state, page = night()
    assert (state.name, champion()) == ("NothingToDo", second)
