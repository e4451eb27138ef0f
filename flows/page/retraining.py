"""Artifact of a retraining's run: its outcome, and the reasons."""

from pathlib import Path

from prefect.artifacts import create_markdown_artifact

from pipeline.facts.data import DataFacts
from pipeline.facts.paired import Paired
from pipeline.release.challenge import Choice
from pipeline.release.drift import MIN_TEXTS, Drift
from pipeline.report.headline import spaced
from pipeline.report.page import render_checks
from pipeline.report.report import Report
from pipeline.store.stage import Stage

KEY = "retraining"


def show_nothing_to_do(champion: Path | None, data: Stage[DataFacts]) -> None:
    """Say that neither data nor config changed."""
    who = f"the champion {champion.name}" if champion else "the last challenger"
    create_markdown_artifact(
        key=KEY,
        markdown=(
            "## Nothing to do\n\n"
            f"The texts (digest `{data.facts.texts_digest[:12]}`) and the config are those that "
            f"{who} was made of."
        ),
        description="nothing to do",
    )


def show_decision(
    report: Report,
    champion: Path | None,
    paired: Paired | None,
    choice: Choice,
    drift: tuple[Drift, ...],
    start: str | None,
    *,
    metric: str,
) -> str:
    """Say what was trained, compared and decided; return the Markdown."""
    verdict = "takes the champion's place" if choice.replaces else "does not replace the champion"
    before = champion.name if champion else "none"
    origin = "the champion's adapters" if start else "new adapters"
    parts = [
        f"## {report.run_id} {verdict}",
        *(f"- {reason}" for reason in choice.reasons),
        "",
        f"Champion before: `{before}`. The challenger started from {origin}.",
        _comparison(paired, metric),
        _drift(drift, champion),
        "### Gate\n\n" + render_checks((*report.checks, *choice.checks)),
    ]
    markdown = "\n\n".join(part for part in parts if part)
    create_markdown_artifact(key=KEY, markdown=markdown, description=verdict)
    return markdown


def _comparison(found: Paired | None, metric: str) -> str:
    if found is None:
        return ""
    low, high = found.change.intervals[metric]
    return (
        f"### The same {found.texts} held-out texts\n\n"
        "| | champion | challenger | difference |\n|---|---:|---:|---:|\n"
        f"| {spaced(metric)} | {found.baseline[metric]:.4f} | {found.candidate[metric]:.4f} | "
        f"{found.change.values[metric]:+.4f} ({low:+.4f} to {high:+.4f}) |\n"
        f"| texts on which it is better | {found.baseline_better} | "
        f"{found.candidate_better} | sign test, p = {found.p_value:.3g} |"
    )


def _drift(found: tuple[Drift, ...], champion: Path | None) -> str:
    if champion is None:
        return ""
    if not found:
        return f"### Drift\n\nFewer than {MIN_TEXTS} texts are new, too few for a test."
    rows = [
        f"| {each.name} | {each.before:.4f} | {each.now:.4f} | {each.test}, p = {each.p_value:.2g} "
        f"| {'**drifted**' if each.drifted else 'no'} |"
        for each in found
    ]
    head = ["| | champion's texts | new texts | test | drifted |", "|---|---:|---:|---|---|"]
    return "### Drift\n\n" + "\n".join([*head, *rows])
