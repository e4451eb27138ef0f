"""Completions on the terminal: a language model's text, shown while it is generated."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.errors import InputError

if TYPE_CHECKING:
    from adapter_distill import Model
    from pipeline.texts.tables import Text


def print_completions(
    student: "Model", texts: "Sequence[Text]", limits: Mapping[str, float], *, as_json: bool
) -> None:
    """Print every text with what the model makes of it; as JSON, once it is whole.

    Raises:
        InputError: for a pair of texts, and for a text that is too long.
    """
    if any(len(text) != 1 for text in texts):
        name = student.classifier.task.name
        raise InputError(f"A {name} takes single texts, found a pair. Give one text.")
    written = [student.stream(text, **limits) for (text,) in texts]  # or refuse before it prints
    for (text,), pieces in zip(texts, written, strict=True):
        if as_json:
            (answer,) = student.answer([text], **limits).answers
            typer.echo(json.dumps({"text": text, **answer}, ensure_ascii=False))
            continue
        typer.echo(text, nl=False)
        for piece in pieces:
            typer.echo(piece, nl=False)
        typer.echo()
