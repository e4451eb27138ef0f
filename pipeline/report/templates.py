"""The templates' environment: escaping of texts from outside, and the format of numbers.

Jinja escapes texts from outside (labels, sources, notes) in HTML, and the filter ``md`` in
Markdown. A card's YAML holds them as JSON.
"""

import html
import re
from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pipeline.decisions.overhead_reasons import change_text, removed_text
from pipeline.report.headline import spaced, times_text, truncation_text


def render_template(template: str, **values: object) -> str:
    """Return a template of ``pipeline/report/pages`` with these values."""
    environment = Environment(
        loader=PackageLoader("pipeline.report", "pages"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "percent": _percent,
        "signed": signed,
        "megabytes": megabytes,
        "duration": _duration,
        "change": change_text,
        "removed": removed_text,
        "times": times_text,
        "spaced": spaced,
        "truncated": truncation_text,
        "md": _escape_markdown,
    }
    environment.filters.update(filters)
    return environment.get_template(template).render(**values)


def _percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction of 1 as a percentage."""
    return f"{fraction:.{digits}%}"


def signed(value: float, digits: int = 4) -> str:
    """Return a number that always shows its sign; what rounds to zero has none."""
    rounded = round(value, digits)
    text = f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def megabytes(size_bytes: int) -> str:
    """Return a size in MB, a million bytes each."""
    return f"{size_bytes / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _escape_markdown(text: object) -> str:
    """Return a text that stays a text in Markdown: no HTML, no markup, no new line or column."""
    one_line = " ".join(str(text).split())
    without_html = html.escape(one_line, quote=False)
    return re.sub(r"([\\`*\[\]|])", r"\\\1", without_html)
