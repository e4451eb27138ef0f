"""The picture of README: a layer of the teacher, a layer of the student, and measured latency.

    .venv/bin/python scripts/picture.py                  # draws docs/images/overview.svg again
    .venv/bin/python scripts/picture.py runs/latest      # with the numbers of that run

The numbers are kept in docs/images/overview.json, because runs are not part of the repository.
"""

import json
import sys
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
NUMBERS, PICTURE = IMAGES / "overview.json", IMAGES / "overview.svg"
WIDTH, HEIGHT = 960, 348
INK, FAINT, FROZEN, ADAPTER, STUDENT = "#1f2937", "#6b7280", "#e5e7eb", "#f59e0b", "#3b82f6"
STYLE = (
    "text{font-family:system-ui,-apple-system,Segoe UI,Roboto,sans-serif;fill:"
    + INK
    + ";font-size:14px}.title{font-size:16px;font-weight:600}.faint{fill:"
    + FAINT
    + ";font-size:12px}.middle{text-anchor:middle}"
)


def draw(numbers: dict[str, Any]) -> str:
    """Return the picture as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(_described(numbers))}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#ffffff" stroke="{FROZEN}"/>',
        *_teacher(32),
        *_arrow(224),
        *_student(336),
        *_bars(560, numbers),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _described(numbers: dict[str, Any]) -> str:
    bars = ", ".join(f"{bar['arm']} {bar['ms']:.1f} ms" for bar in numbers["bars"])
    return f"Adapters move into the weights of a plain layer. Wall time per text: {bars}."


def _teacher(x: int) -> list[str]:
    return [
        *_title(x, "Teacher's layer"),
        *_box(x, 64, "attention", FROZEN),
        *_box(x, 112, "adapter", ADAPTER, narrow=True),
        *_box(x, 160, "feed-forward", FROZEN),
        *_box(x, 208, "adapter", ADAPTER, narrow=True),
        *_note(x, 272, "frozen weights, and adapters", "that run at every request"),
    ]


def _student(x: int) -> list[str]:
    return [
        *_title(x, "Student's layer"),
        *_box(x, 88, "attention", STUDENT),
        *_box(x, 184, "feed-forward", STUDENT),
        *_note(x, 272, "the backbone's own graph,", "with new weights"),
    ]


def _title(x: int, text: str) -> list[str]:
    return [f'<text class="title middle" x="{x + 80}" y="40">{text}</text>']


def _note(x: int, y: int, *lines: str) -> list[str]:
    return [
        f'<text class="faint middle" x="{x + 80}" y="{y + 18 * row}">{line}</text>'
        for row, line in enumerate(lines)
    ]


def _box(x: int, y: int, text: str, colour: str, *, narrow: bool = False) -> list[str]:
    inset = 32 if narrow else 0
    ink = "#ffffff" if colour == STUDENT else INK
    return [
        f'<rect x="{x + inset}" y="{y}" width="{160 - 2 * inset}" height="36" rx="6" '
        f'fill="{colour}"/>',
        f'<text class="middle" x="{x + 80}" y="{y + 23}" style="fill:{ink}">{text}</text>',
    ]


def _arrow(x: int) -> list[str]:
    return [
        f'<path d="M{x} 152h76" stroke="{INK}" stroke-width="2"/>',
        f'<path d="M{x + 76} 145l14 7-14 7z" fill="{INK}"/>',
        f'<text class="middle" x="{x + 42}" y="138">absorb</text>',
        f'<text class="faint middle" x="{x + 42}" y="178">texts, no labels</text>',
    ]


def _bars(x: int, numbers: dict[str, Any]) -> list[str]:
    """Return one bar for each file, as long as its wall time."""
    parts = [f'<text class="title" x="{x}" y="40">Wall time per text</text>']
    longest = max(bar["ms"] for bar in numbers["bars"])
    for row, bar in enumerate(numbers["bars"]):
        y, width = 64 + 52 * row, round(240 * bar["ms"] / longest)
        colour = STUDENT if bar["arm"].startswith("student") else ADAPTER
        shown = f"{bar['ms']:.1f} ms" + (f", {bar['times']:.2f} times as fast" if row else "")
        parts += [
            f'<text x="{x}" y="{y + 10}">{escape(bar["arm"])}</text>',
            f'<rect x="{x}" y="{y + 18}" width="{width}" height="18" rx="3" fill="{colour}"/>',
            f'<text class="faint" x="{x + width + 8}" y="{y + 32}">{shown}</text>',
        ]
    where = [f"demo, run {numbers['run']}", numbers["machine"]]
    return parts + [
        f'<text class="faint" x="{x}" y="{300 + 18 * row}">{escape(line)}</text>'
        for row, line in enumerate(where)
    ]


def read_run(folder: Path) -> dict[str, Any]:
    """Return the numbers of a finished run."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    rungs = {rung["arm"]: rung for rung in report["benchmark"]["ladder"]}
    shipped = report["quantized"] and report["quantized"]["chosen"]
    names = {
        "teacher in PyTorch": "teacher in PyTorch",
        "teacher": "teacher in onnxruntime",
        "student": "student, fp32",
        f"student {shipped}": f"student, {shipped} (ships)",
    }
    bars = [
        {
            "arm": shown,
            "ms": round(rungs[arm]["mean_ms"]["value"], 2),
            "times": round(rungs[arm]["faster_than_torch"]["value"], 2),
        }
        for arm, shown in names.items()
        if arm in rungs
    ]
    machine = report["benchmark"]["machine"].get("processor", "")
    return {"run": report["run_id"], "machine": f"one thread, {machine}", "bars": bars}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        found = read_run(Path(sys.argv[1]))
        NUMBERS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    PICTURE.write_text(draw(json.loads(NUMBERS.read_text(encoding="utf-8"))), encoding="utf-8")
    print(PICTURE)
