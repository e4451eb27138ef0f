import base64
import io
import re

import pytest
from huggingface_hub import ModelCard
from matplotlib.image import imread
from rich.console import Console
from support.report_document import document
from support.report_facts import (
    ATTACK,
    CELLS,
    NOTES,
    REASONS,
    absorbed,
    benchmark,
    checks,
    classes,
    data,
    evaluation,
    outcome,
    student,
    teacher,
)

from flows.cli.summary import print_summary
from pipeline.report.page import draw_plots, render_card, render_checks, render_page, render_summary
from pipeline.report.plots import latency_plots, plots
from pipeline.report.report import Report


@pytest.fixture(scope="module")
def report():
    return Report.model_validate(document())


@pytest.fixture(scope="module")
def refused():
    """A refused run, with everything hostile or unusual that a report can hold."""
    untrained = outcome(0.5, accuracy=[0.5, 0.5]) | {"curve": ()}
    changed = document(
        verdict="refused",
        reasons=REASONS,
        checks=checks(passed=False),
        data=data("negative", ATTACK),
        evaluation=evaluation(classes=classes("negative", ATTACK)),
        teacher=teacher(warnings=["the bottleneck is small"], outcome=untrained),
        student=student(kept="start"),
        absorbed=None,
        warnings=NOTES,
        benchmark=benchmark(verdict=None, ladder=()),
    )
    return Report.model_validate(changed)


@pytest.fixture(scope="module")
def drawn(report):
    """The plots of `report`, for pages whose words alone are looked at: drawing takes seconds."""
    return draw_plots(report)


@pytest.fixture(scope="module")
def page(report, drawn):
    return render_page(report, drawn)


@pytest.fixture(scope="module")
def refused_page(refused):
    return render_page(refused, draw_plots(refused))


def pictures(page: str) -> list[bytes]:
    return [base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([^\"]+)", page)]


def test_page_needs_nothing_but_itself(page):
    references = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)

    assert all(reference.startswith(("data:", "#")) for reference in references)
    assert not re.search(r"https?://|@import|url\(|<script", page)


def test_links_within_the_page_lead_somewhere(page):
    assert set(re.findall(r'href="#(\w+)"', page)) == set(re.findall(r'<section id="(\w+)"', page))


def test_page_has_six_small_pictures_that_can_be_read(page):
    found = pictures(page)

    assert len(found) == 6
    for png in found:
        height, width, _ = imread(io.BytesIO(png), format="png").shape
        assert width >= 700
        assert height >= 150
        assert len(png) <= 60_000


def test_page_without_absorbed_sites_has_no_picture_of_them(refused_page):
    assert len(pictures(refused_page)) == 4  # no ladder either
    assert "unlabelled texts" not in refused_page


def test_page_says_how_the_adapters_were_absorbed(page):
    assert "absorbed from 4000 unlabelled texts (108,301 tokens)" in page
    assert "which the teacher may have been trained on, before any gradient step, the" in page
    assert "teacher on 98.5% of the texts (KL to the teacher (nats): 0.00210)" in page


def test_page_says_what_an_exact_fold_costs(drawn):
    folded = absorbed(method="exact", extra_units=64, sites=())
    report = Report.model_validate(document(absorbed=folded))

    assert "weights exactly, at 64 more units in each layer" in render_page(report, drawn)


def test_page_shows_the_four_numbers_of_every_cell_and_the_structures(page):
    section = page[page.index('id="overhead"') : page.index('id="latency"')]

    assert '<span class="badge">overhead gone</span>' in section
    for _, length, _ in CELLS:
        assert f"{length} tokens" in section if length else "own lengths" in section
    assert section.count("+6.2% (+6.0 to +6.4)") == len(CELLS)  # exp(0.06) - 1
    for expected in ("0df4", "f41b", "289", "171.2 M", "geometric mean"):
        assert expected in section


def test_page_shows_the_ladder_and_all_cores(page):
    section = page[page.index('id="latency"') : page.index('id="size"')]

    for expected in ("2.34\u00d7 (2.27 to 2.41)", "143.2 texts/s", "210 ms", "260.0 MB"):
        assert expected in section


def test_how_fast_how_faithful_how_small_stands_in_three_lines(page, report):
    summary = render_summary(report)

    for text in (page, summary):
        _check_headlines(text)


def _check_headlines(text):
    assert "2.34\u00d7 (2.27 to 2.41) than the teacher in PyTorch" in text
    assert "agrees with the teacher on 97.2% of the texts" in text
    assert "91.0 MB (-2.6% against the teacher" in text


def test_ladder_that_was_left_out_is_refused(refused):
    with pytest.raises(ValueError, match="not measured"):
        latency_plots.plot_ladder(refused)


def test_absorption_of_nothing_is_refused(refused):
    with pytest.raises(ValueError, match="no absorbed sites"):
        plots.plot_absorption(refused)


def test_passed_page_says_so(page):
    assert '<header class="passed">' in page
    assert "yes, all 2 checks passed" in page
    assert "Not certain" not in page


def test_refused_page_gives_every_reason_note_and_warning(refused_page):
    assert '<header class="refused">' in refused_page
    assert "2 of 2 checks failed" in refused_page
    for text in (REASONS[0], *NOTES, "the bottleneck is small"):
        assert text in refused_page


def test_page_escapes_texts(refused_page):
    assert "<script" not in refused_page
    assert refused_page.count("&lt;script&gt;") == 5  # reason, check, label list, two tables


def test_page_shows_the_measured_numbers(page):
    for number in ("79.50 → 79.25%", "97.25%", "1.061\u00d7", "93.4 → 91.0 MB", "\u22120.0138 to"):
        assert number in page


def test_parity_table_holds_the_worst_of_each_model_and_mask(page):
    table = page[page.index('id="parity"') : page.index('id="data"')]

    assert re.findall(r'">(\S+)</td><td class="number">1.0e-04', table) == ["3.0e-06"] * 4


def test_card_front_matter_is_what_the_hub_reads(report):
    card = ModelCard(render_card(report)).data

    fields = card.to_dict()
    assert fields["library_name"] == "transformers"
    assert fields["pipeline_tag"] == "text-classification"
    assert card.tags == ["onnx", "distillation"]
    found = {result.metric_type: result.metric_value for result in card.eval_results}
    assert found == {"accuracy": 0.7925, "f1": 0.7915}


def test_card_shows_numbers_and_how_to_load(report):
    card = render_card(report)

    for text in (
        "0.7925 (0.7650 to 0.8200)",
        "on 97.2% of",
        "0.998 (0.991 to 1.005)",
        "FOLDER/onnx",
    ):
        assert text in card


def test_every_check_is_shown_with_its_interval_and_limit(page, report):
    for text in (page, render_card(report), render_summary(report), render_checks(report.checks)):
        assert "0.25% (-1.00% to 2.00%)" in text
        assert "at least 95.00%" in text


def test_page_and_card_name_the_class_that_loses_most(page, report):
    assert "20.00 <small>\u22125.00 to" in page.replace("+", "")
    card = render_card(report)
    assert "with the most certain loss is *negative* (780 test texts): recall 81.00%" in card
    assert "so their numbers are uncertain: positive (20)." in card
    assert "calibration error of its scores is 0.0442" in card


@pytest.mark.parametrize("render", [render_card, render_summary])
def test_markdown_gives_every_reason_and_note_as_text(render, refused):
    text = render(refused)

    assert "<script" not in text
    for expected in (REASONS[0], r"Because \| of &lt;script&gt;", *NOTES):
        assert expected in text


@pytest.mark.parametrize("render", [render_card, render_summary])
def test_markdown_tables_are_whole(render, report):
    tables = re.findall(r"(?:^\|.*\n)+", render(report), flags=re.MULTILINE)

    for table in tables:
        assert len({row.count("|") for row in table.splitlines()}) == 1
    _, checks, overhead, ladder, latency = tables
    assert len(checks.splitlines()) == 2 + 2
    assert len(overhead.splitlines()) == 2 + 3 + 1
    assert len(ladder.splitlines()) == 2 + 4
    assert len(latency.splitlines()) == 2 + 3


def test_summary_begins_with_the_verdict(report, refused):
    assert render_summary(report).startswith("## demo: passed\n")
    assert render_summary(refused).startswith("## demo: refused\n")


def test_every_time_of_the_ladder_says_by_which_clock(page, report):
    blurred = [
        rung | {"faster_than_torch": {"value": 7.0, "low": 3.0, "high": 11.0}}
        for rung in document()["benchmark"]["ladder"]
    ]
    busy = Report.model_validate(document(benchmark=benchmark(ladder=blurred)))

    assert "than the teacher in PyTorch, in wall time" in render_summary(report)
    assert "than the teacher in PyTorch, in CPU time (the machine was busy)" in render_summary(busy)
    for column in ("Mean, wall", "p95, wall", "Faster than the teacher in PyTorch, wall time"):
        assert f">{column}</th>" in page


def test_class_table_lists_the_worst_first(drawn):
    lost = {"good": 0.0, "worst": 0.3}
    found = [
        each | {"recall_lost": lost[each["label"]], "interval": [lost[each["label"]] - 0.01, 0.4]}
        for each in classes(*lost)
    ]
    changed = Report.model_validate(document(evaluation=evaluation(classes=found)))

    table = render_page(changed, drawn).partition("Class by class")[2]

    assert sorted(lost, key=table.index) == ["worst", "good"]


def test_thousand_labels_are_counted_and_not_listed():
    many = Report.model_validate(document(data=data(*(f"label{n}" for n in range(1000)))))

    assert "label19 and 980 more" in render_page(many, draw_plots(many))


def test_page_summary_and_terminal_say_first_what_a_person_needs(tmp_path, drawn):
    shown_only = checks(passed=True)[0] | {"not_in_force": "gate.overhead = any"}
    report = Report.model_validate(document(checks=[*checks(passed=True), shown_only]))
    console = Console(width=500, record=True)
    print_summary(report, tmp_path, console)

    for text in (
        render_page(report, drawn),
        render_summary(report),
        console.export_text(),
    ):
        good, ship, then = (text.index(said) for said in ("is it good", "may it ship", "what next"))
        table = text.index("calibration error")
        assert good < ship < then < table
        assert "+6.87 points (+4.87 to +8.87) against the head alone" in text
        assert "2 of 3 checks passed, 1 not in force (accuracy lost: gate.overhead = any)" in text
        assert "adapter-distill models promote demo" in text
