"""A run in three lines: how many times faster, how faithful, how small."""

from dataclasses import dataclass
from typing import Literal

from pipeline.decisions.check import count_results
from pipeline.facts.arms import CONSTANT, PLAIN, STUDENT, TEACHER
from pipeline.facts.latency import Estimate
from pipeline.report.report import Report
from pipeline.tasks.all_tasks import find_task

TIMES = "\N{MULTIPLICATION SIGN}"
_BLURRED = 0.1
"""Half-width from which on a ratio of wall times is blurred, as part of it."""
OUTCOMES = {
    "overhead_gone": "the adapters' overhead is gone",
    "overhead_remains": "the adapters' overhead remains",
    "inconclusive": "noise left open whether the adapters' overhead is gone",
}


def headlines(report: Report) -> tuple[str, str, str]:
    """Return the lines of the student that ships, each under its word."""
    return (
        f"faster: {_faster(report)}",
        f"faithful: {_faithful(report)}",
        f"smaller: {_smaller(report)}",
    )


def answers(report: Report) -> tuple[tuple[str, str], ...]:
    """Return what a person asks of a run first, each with its answer."""
    verdict = "yes" if report.verdict == "passed" else "no"
    found = [
        ("is it good", _good(report)),
        ("may it ship", f"{verdict}, {count_results(report.checks)}"),
        ("what next", report.next_step),
    ]
    return tuple((question, answer) for question, answer in found if answer)


def _good(report: Report) -> str:
    """Return the student's main metric, and what it gained or lost against others."""
    task, evaluation = find_task(report.task), report.evaluation
    metric = task.main_metric
    low, high = evaluation.student.intervals[metric]
    changes = {
        task.words.plain: evaluation.gains.get(PLAIN),
        task.words.constant: evaluation.gains.get(CONSTANT),
        "its teacher": evaluation.change,
    }
    parts = [f"{spaced(metric)} {evaluation.student.values[metric]:.1%} ({low:.1%} to {high:.1%})"]
    for baseline, change in changes.items():
        if change is not None:
            least, most = change.intervals[metric]
            parts.append(
                f"{100 * change.values[metric]:+.2f} points ({100 * least:+.2f} to "
                f"{100 * most:+.2f}) against {baseline}"
            )
    return ", ".join(parts)


def spaced(name: str) -> str:
    """Return the name of a measured value, for people."""
    return name.replace("_", " ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How many times faster something is, by which clock."""

    ratio: Estimate
    clock: Literal["wall time", "CPU time"]

    def __str__(self) -> str:
        """Return ``2.21x (2.17 to 2.25)`` of the clock: ``... in wall time``."""
        return f"{times_text(self.ratio)} in {self.clock}"


def clearest(wall: Estimate | None, cpu: Estimate | None) -> Speed | None:
    """Return the ratio of wall times, or that of CPU times where a busy machine blurs the first.

    With one thread the two are the same but for what else the machine does.
    """
    if wall is None or cpu is None:
        return None
    blurred = wall.half_width > _BLURRED * wall.value
    if blurred and cpu.half_width < wall.half_width:
        return Speed(ratio=cpu, clock="CPU time")
    return Speed(ratio=wall, clock="wall time")


def times_text(ratio: Estimate | None) -> str:
    """Return how many times faster: ``2.21x (2.17 to 2.25)``; nothing for None."""
    if ratio is None:
        return ""
    return f"{ratio.value:.2f}{TIMES} ({ratio.low:.2f} to {ratio.high:.2f})"


def _faster(report: Report) -> str:
    rung = next((rung for rung in report.benchmark.ladder if rung.arm == report.shipped_arm), None)
    parts = []
    if rung is not None:
        torch = clearest(rung.faster_than_torch, rung.cpu_faster_than_torch)
        teacher = clearest(rung.faster_than_teacher, rung.cpu_faster_than_teacher)
        if torch:
            parts.append(_than(torch, "PyTorch"))
        if teacher:
            parts.append(_than(teacher, "onnxruntime"))
        parts.append(f"{rung.mean_ms.value:.1f} ms of wall time per text on one thread")
    if report.benchmark.verdict is not None:
        parts.append(OUTCOMES[report.benchmark.verdict.outcome])
    return ", ".join(parts) or "not measured"


def _faithful(report: Report) -> str:
    task = find_task(report.task)
    fidelity, change = report.evaluation.fidelity, report.evaluation.change
    low, high = fidelity.intervals[task.agreement]
    least, most = change.intervals[task.main_metric]
    return (
        f"{task.words.agrees(fidelity.values[task.agreement])} ({low:.1%} to {high:.1%}), "
        f"{spaced(task.main_metric)} {100 * change.values[task.main_metric]:+.2f} points "
        f"({100 * least:+.2f} to {100 * most:+.2f})"
    )


def _smaller(report: Report) -> str:
    size, teacher = (report.onnx_bytes[arm] for arm in (STUDENT, TEACHER))
    return (
        f"{size / 1e6:.1f} MB ({size / teacher - 1:+.1%} against the teacher's file), "
        f"{report.student.total_parameters:,} parameters, none of them an adapter's"
    )


def _than(speed: Speed, runtime: str) -> str:
    why = " (the machine was busy)" if speed.clock == "CPU time" else ""
    return f"{times_text(speed.ratio)} than the teacher in {runtime}, in {speed.clock}{why}"


def truncation_text(report: Report) -> str:
    """Return how many texts are longer than the model reads, and what happens to them."""
    found = report.head_only.truncation
    if found is None:
        return "not counted"
    counts = [
        f"{count:,} of {report.data.sizes[split]:,} {split}"
        for split, count in found.texts.items()
        if count
    ]
    if not counts:
        return f"no text (limit: {found.max_length:,} tokens)"
    fate = "they are read in windows" if found.reads_windows else "they are cut"
    return f"{', '.join(counts)} texts (limit: {found.max_length:,} tokens); {fate}"
