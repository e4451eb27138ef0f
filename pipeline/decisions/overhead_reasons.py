"""A verdict in words: its numbers, and what to do about a cell that did not pass."""

from collections.abc import Iterator

from pipeline.facts.latency import Estimate
from pipeline.facts.overhead import CellVerdict, Rules

_MORE = "raise benchmark.seconds_per_cell, or measure on a quieter machine"


def cell_reasons(cell: CellVerdict, rules: Rules, may_be_faster: bool) -> Iterator[str]:
    """Yield a sentence for every test that failed: what was found, what to do."""
    where = f"{cell.cell}:"
    if cell.outcome == "overhead_gone":
        return
    if cell.outcome == "overhead_remains":
        yield (
            f"{where} the student's time is the plain backbone's {change_text(cell.student)}; "
            f"accepted is +{_percent(cell.margin)}. {removed_text(cell)} of the adapters' cost, "
            f"{change_text(cell.teacher)}, is gone; {rules.min_removed:.0%} must be. Look for what "
            "the student's graph still has beside the backbone's."
        )
        return
    yield from _measurement_reasons(cell, rules)
    if not cell.equivalent:
        yield _difference_reason(cell, may_be_faster)
    if cell.sensitive and cell.equivalent and not cell.removed_enough:
        yield (
            f"{where} {removed_text(cell)} of the adapters' cost is gone, which may be less "
            f"than {rules.min_removed:.0%}: {_MORE}."
        )


def _measurement_reasons(cell: CellVerdict, rules: Rules) -> Iterator[str]:
    """Yield what is wrong with the measurement itself."""
    where = f"{cell.cell}:"
    if cell.a_a_arm.half_width > rules.max_half_width:
        yield (
            f"{where} too noisy, as the same file measured twice differs by "
            f"{change_text(cell.a_a_arm)}, and accepted is an interval of "
            f"+/-{_percent(rules.max_half_width)}: {_MORE}."
        )
    elif not cell.calibrated:
        yield (
            f"{where} biased: the same file measured twice differs by {change_text(cell.a_a_arm)}, "
            "which is more than chance. Something changed while it was measured: measure again."
        )
    if not cell.sensitive:
        yield (
            f"{where} the adapters' cost is not visible ({change_text(cell.teacher)}), so nothing "
            f"can be said of its removal. To see it, {_MORE}. Or measure a shape where it is "
            "larger (batch 1, short texts)."
        )


def _difference_reason(cell: CellVerdict, may_be_faster: bool) -> str:
    """Return how the student may differ from plain."""
    where, found = f"{cell.cell}:", change_text(cell.student_90)
    if may_be_faster:
        return f"{where} the student may be slower than plain, {found}: {_MORE}."
    if cell.student_90.high < 1:
        return (
            f"{where} the student has the backbone's graph, but its time differs ({found}). The "
            "measurement is at fault. Measure again."
        )
    return (
        f"{where} the student may differ from plain by more than {_percent(cell.margin)}, "
        f"{found}: {_MORE}."
    )


def _percent(part: float) -> str:
    return f"{part:.2%}"


def change_text(ratio: Estimate) -> str:
    """Return a ratio as its distance from 1: ``+6.1% (+5.8 to +6.4)``."""
    value, low, high = (100 * (each - 1) for each in (ratio.value, ratio.low, ratio.high))
    return f"{value:+.1f}% ({low:+.1f} to {high:+.1f})"


def removed_text(cell: CellVerdict) -> str:
    """Return the removed part: ``98% (95% to 101%)``."""
    if cell.removed is None:
        return "An unknown part"
    if cell.removed_low is None or cell.removed_high is None:
        return f"{cell.removed:.0%} (with no bounds)"
    return f"{cell.removed:.0%} ({cell.removed_low:.0%} to {cell.removed_high:.0%})"
