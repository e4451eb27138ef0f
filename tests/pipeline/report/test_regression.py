"""The report of a task without classes, whose student ships in int8."""

import re

import pytest
from rich.console import Console
from support.report_document import regression

from flows.cli.summary import print_summary
from pipeline.report.page import draw_plots, render_card, render_page, render_summary
from pipeline.report.plots import drawing
from pipeline.report.report import Report

# What only a classification has.
CLASSES = r"(?i)accuracy|kl\b|nats|logit|class by|classif(?!ier\.|ication\b)|calibration|agree"


@pytest.fixture(scope="module")
def report():
    document = regression()
    return Report.model_validate(document | {"checks": document["checks"][:1]})


@pytest.fixture(scope="module")
def summary(report, tmp_path_factory):
    console = Console(width=130, record=True)
    print_summary(report, tmp_path_factory.mktemp("run"), console)
    return console.export_text()


def shown(document):
    """Return a rendered document without its pictures and its one check."""
    document = re.sub(r"data:image/png;base64,[^\"]+", "", document)
    return re.sub(r".*accuracy lost.*", "", document)


def test_page_speaks_of_the_task_alone(report):
    page = shown(render_page(report, draw_plots(report)))

    assert not re.findall(CLASSES, page)
    for expected in (
        "85.30 → 84.80%",
        "Correlation with the teacher",
        "RMSE to the teacher 0.1100",
        '<th scope="row">largest gap</th>',
        '<th scope="row">0 to 1</th><td class="number">800</td>',
        "the student correlates with the teacher at 97.0%",
    ):
        assert expected in page


def test_card_and_summaries_speak_of_the_task_alone(report, summary):
    for text in (render_card(report), render_summary(report), summary):
        assert not re.findall(CLASSES, shown(text))
        assert re.search(r"RMSE to the teacher[:│ ]+\s*0\.1100", text)
    assert "correlates with the teacher at 99.1% (98.7% to 99.5%), pearson -0.50 points" in summary


def test_every_plot_says_what_was_found_in_the_tasks_words(report, monkeypatch):
    titles = []

    def note(height_in, finding, draw=drawing.new_figure):
        titles.append(finding)
        return draw(height_in, finding)

    for module in ("plots", "latency_plots"):
        monkeypatch.setattr(f"pipeline.report.plots.{module}.new_figure", note)
    pictures = draw_plots(report)

    assert len(pictures) == len(titles) == 6
    assert (
        "The student is 0.50 points below its teacher's pearson, and correlates with the teacher "
        "at 99.1%" in titles
    )
    assert (
        "The teacher reaches 85.5% validation pearson. Training takes the student's RMSE to the "
        "teacher from 0.2100 to 0.1200" in titles
    )


def test_size_is_that_of_the_file_that_ships(report):
    assert report.shipped_arm == "student int8"
    assert report.onnx_bytes["student"] == 23_000_000
