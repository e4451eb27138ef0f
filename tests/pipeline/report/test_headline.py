import pytest
from support.report_document import document
from support.report_facts import head_only

from pipeline.facts.latency import Estimate
from pipeline.report.headline import Speed, clearest, truncation_text
from pipeline.report.report import Report


def ratio(value, half):
    return Estimate(value=value, low=value - half, high=value + half)


def test_wall_time_is_shown_where_it_is_clear():
    wall, cpu = ratio(4.7, 0.2), ratio(4.6, 0.01)

    assert clearest(wall, cpu) == Speed(ratio=wall, clock="wall time")


def test_cpu_time_is_shown_where_a_busy_machine_blurs_the_wall_time():
    wall, cpu = ratio(4.7, 1.2), ratio(4.6, 0.01)

    assert clearest(wall, cpu) == Speed(ratio=cpu, clock="CPU time")


def test_cpu_time_that_is_no_clearer_is_not():
    wall, cpu = ratio(4.7, 1.2), ratio(4.6, 1.3)

    assert clearest(wall, cpu) == Speed(ratio=wall, clock="wall time")


def test_speed_says_by_which_clock_it_was_measured():
    assert str(Speed(ratio=ratio(6.52, 0.1), clock="CPU time")) == (
        "6.52\N{MULTIPLICATION SIGN} (6.42 to 6.62) in CPU time"
    )


def test_nothing_is_shown_of_a_rung_that_was_left_out():
    assert clearest(None, None) is None


@pytest.mark.parametrize(
    ("texts", "in_windows", "said"),
    [
        ({"train": 0, "test": 0}, False, "no text (limit: 64 tokens)"),
        ({"train": 12, "test": 0}, False, "12 of {train} train texts (limit: 64 tokens); they"),
        ({"train": 1, "test": 2}, True, "they are read in windows"),
    ],
)
def test_texts_that_the_model_does_not_read_whole_are_said(texts, in_windows, said):
    facts = {"max_length": 64, "texts": texts, "reads_windows": in_windows}
    report = Report.model_validate(document(head_only=head_only() | {"truncation": facts}))

    assert said.format(train=f"{report.data.sizes['train']:,}") in truncation_text(report)


def test_a_run_whose_texts_were_not_counted_says_so():
    assert truncation_text(Report.model_validate(document())) == "not counted"
