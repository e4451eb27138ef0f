"""Whether the adapters' overhead is gone: a decision from structure and block log-ratios alone.

Each cell (a batch size and a length) has the plain backbone, the same file again, the adapter
teacher and the student. It must pass four tests:

1. *calibrated*: the same file measured twice is equal, within ``max_half_width``;
2. *sensitive*: the teacher is measurably slower than plain, the positive control: a rig that
   cannot see adapters cannot tell that they are gone;
3. *equivalent*: two one-sided tests at 5 % (Schuirmann, 1987), that is, the 90 % interval of
   student / plain lies within ``1 - margin`` to ``1 + margin``;
4. *removed*: the low end of the interval of ``1 - log(student / plain) / log(teacher / plain)``
   is at least ``min_removed``.

All cells must pass (an intersection-union test, which needs no correction for their number). A
student measurably slower than the margin, beyond all that the same file differs from itself,
keeps the overhead. Anything else is inconclusive: noise never passes, and never refuses.

A student whose shape differs from the backbone's (fewer layers, int8) has no plain twin here. It
may be faster than plain instead of equal. A student that is faster has all of the overhead removed.
It also shows that this rig sees differences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.decisions.overhead_reasons import cell_reasons
from pipeline.facts.latency import Estimate
from pipeline.facts.overhead import CellVerdict, Outcome, Rules, Structure, Verdict
from pipeline.statistics.intervals import Logs, estimate_mean, estimate_ratio, estimate_removed

_BIAS_CONFIDENCE = 0.99
"""Level of the A/A interval that must hold 1; at 95 % one good measurement in twenty fails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellLogs:
    """One cell's log-ratios to the plain backbone, one a block."""

    name: str
    a_a_arm: Logs
    teacher: Logs
    student: Logs


def decide_overhead(structure: Structure, cells: Sequence[CellLogs], rules: Rules) -> Verdict:
    """Return the verdict over one or more cells of three or more blocks each."""
    judged = tuple(_judge(cell, structure, rules) for cell in cells)
    outcomes = {cell.outcome for cell in judged}
    reasons = (*_structural_reasons(structure), *(r for cell in judged for r in cell.reasons))
    outcome: Outcome = "overhead_gone"
    if _still_has_adapters(structure) or "overhead_remains" in outcomes:
        outcome = "overhead_remains"
    elif structure.teacher_is_plain or "inconclusive" in outcomes:
        outcome = "inconclusive"
    return Verdict(
        outcome=outcome,
        claim="equal to plain" if structure.student_is_plain else "faster than plain",
        reasons=reasons,
        structure=structure,
        cells=judged,
        a_a_arm=estimate_mean([cell.a_a_arm for cell in cells], rules.confidence),
        teacher=estimate_mean([cell.teacher for cell in cells], rules.confidence),
        student=estimate_mean([cell.student for cell in cells], rules.confidence),
        rules=rules,
    )


def _still_has_adapters(structure: Structure) -> bool:
    if structure.student_is_plain:
        return False
    return structure.student_is_teacher or bool(structure.adapter_traces)


def _structural_reasons(structure: Structure) -> tuple[str, ...]:
    if structure.teacher_is_plain:
        return (
            "The teacher's graph is the plain backbone's: it has no adapters whose cost could be "
            "gone. Give the adapter teacher.",
        )
    if not _still_has_adapters(structure):
        return ()
    if structure.student_is_teacher:
        return ("The student's graph is the teacher's: the adapters are still in it.",)
    traces = structure.adapter_traces
    return (f"The student's graph names {len(traces)} weights of adapters, such as {traces[0]}.",)


def _judge(cell: CellLogs, structure: Structure, rules: Rules) -> CellVerdict:
    a_a = estimate_ratio(cell.a_a_arm, rules.confidence)
    teacher = estimate_ratio(cell.teacher, rules.confidence)
    student = estimate_ratio(cell.student, rules.confidence)
    student_90 = estimate_ratio(cell.student, 0.90)
    margin = min(rules.max_margin, max(rules.min_margin, 0.25 * (teacher.value - 1)))
    removed = _removed(cell, structure, rules)
    may_be_faster = not structure.student_is_plain
    calibrated = _is_calibrated(cell, a_a, rules)
    equivalent = student_90.high <= 1 + margin and (may_be_faster or student_90.low >= 1 - margin)
    enough = removed[1] >= rules.min_removed
    # What the same file differs from itself may stand behind the student's difference too.
    noise = 0.0 if calibrated else max(abs(math.log(a_a.low)), abs(math.log(a_a.high)))
    surely_faster = may_be_faster and math.log(student.high) < -noise
    surely_slower = math.log(student_90.low) > math.log1p(margin) + noise
    can_tell = calibrated and teacher.low > 1
    outcome: Outcome = "inconclusive"
    if surely_slower or (can_tell and removed[2] < rules.min_removed):
        outcome = "overhead_remains"
    elif surely_faster or (can_tell and equivalent and enough):
        outcome = "overhead_gone"
    part, low, high = (number if math.isfinite(number) else None for number in removed)
    verdict = CellVerdict(
        cell=cell.name,
        blocks=len(cell.student),
        a_a_arm=a_a,
        teacher=teacher,
        student=student,
        student_90=student_90,
        margin=margin,
        removed=part,
        removed_low=low,
        removed_high=high,
        calibrated=calibrated,
        sensitive=teacher.low > 1,
        equivalent=equivalent,
        removed_enough=enough,
        outcome=outcome,
        reasons=(),
    )
    return replace(verdict, reasons=tuple(cell_reasons(verdict, rules, may_be_faster)))


def _is_calibrated(cell: CellLogs, a_a: Estimate, rules: Rules) -> bool:
    """Return whether the same file, measured twice, is equal within the noise that is accepted."""
    bias = estimate_ratio(cell.a_a_arm, _BIAS_CONFIDENCE)
    return a_a.half_width <= rules.max_half_width and bias.low <= 1 <= bias.high


def _removed(cell: CellLogs, structure: Structure, rules: Rules) -> tuple[float, float, float]:
    """Return the removed part and its interval; a faster shape removed all of it, not more."""
    found = estimate_removed(cell.student, cell.teacher, rules.confidence)
    if structure.student_is_plain:
        return found
    if estimate_ratio(cell.student, rules.confidence).high <= 1:
        return 1.0, 1.0, 1.0
    value, low, high = (min(1.0, each) for each in found)
    return value, low, high
