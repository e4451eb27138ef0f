import logging
from pathlib import Path
from typing import get_args

import pytest

from pipeline.chain.outlook import USUAL_SHARES, Outlook, stages_of, with_outlook
from pipeline.chain.stage_names import StageName
from pipeline.config.load import load_config
from pipeline.store.step import step
from pipeline.store.store import Store

SMOKE = Path("configs/smoke.toml")
STAGES = ("data", "head-only", "finetune", "benchmark")


def count_words(text, folder):
    (folder / "text").write_text(text)
    return len(text.split())


@pytest.fixture
def outlooks(tmp_path, caplog):
    """``outlooks(*stages)``: those that a new run of these stages logs; finished ones stay."""

    def outlooks(*stages):
        caplog.set_level(logging.INFO)
        caplog.clear()
        with with_outlook(Store(root=tmp_path), STAGES) as store:
            for name in stages:
                store.ensure(step(name, count_words, settings="one two", facts=int))
        return [record.outlook for record in caplog.records if hasattr(record, "outlook")]

    return outlooks


def test_every_stage_has_a_usual_share_and_those_of_a_run_make_the_whole():
    config = load_config(SMOKE)

    assert set(USUAL_SHARES) == set(get_args(StageName))
    assert sum(USUAL_SHARES[name] for name in stages_of(config)) == pytest.approx(100, abs=0.5)


def test_stages_of_a_run_are_those_of_its_config():
    given = ["data.unlabelled=['more.txt']", "quantize.enabled=false"]
    names = stages_of(load_config(SMOKE, given))

    assert "unlabelled" in names
    assert not {"import", "fuse", "quantize"} & set(names)


def test_each_build_says_where_it_is_and_the_end_that_all_is_done(outlooks):
    found = outlooks(*STAGES)

    assert [each.number for each in found] == [1, 2, 3, 4, 5]
    assert [each.percent for each in found] == sorted(each.percent for each in found)
    assert (found[0].percent, found[-1].percent) == (0, 100)
    assert str(found[-1]) == "all 4 stages are done"


def test_time_left_is_named_once_a_pace_is_known(outlooks):
    found = outlooks(*STAGES)

    assert [each.seconds_left is None for each in found] == [True, True, False, False, False]
    assert found[-1].seconds_left == 0


def test_reused_stage_says_nothing(outlooks):
    outlooks("data", "head-only", "benchmark")

    assert [each.number for each in outlooks(*STAGES)] == [3, 5]
    assert outlooks(*STAGES) == []


def test_stage_of_another_program_is_built_without_an_outlook(outlooks):
    assert outlooks("elsewhere") == []


@pytest.mark.parametrize(
    ("seconds", "percent", "said"),
    [
        (None, 12.1, "stage 4 of 10, usually 12 % of a run"),
        (20, 0.2, "stage 4 of 10, usually under 1 % of a run; about a minute left"),
        (300, 12.1, "stage 4 of 10, usually 12 % of a run; about 5 min left"),
    ],
)
def test_outlook_is_a_sentence(seconds, percent, said):
    outlook = Outlook(number=4, stages=10, usual_percent=percent, percent=50, seconds_left=seconds)

    assert str(outlook) == said
