"""Completions on the terminal: a language model's text, shown while it is generated."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from adapter_distill import Model
    from pipeline.texts.tables import Text


def print_completions(
    student: "Model",
    texts: "Sequence[Text]",
    *,
    tokens: int | None,
    temperature: float | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Print every text with what the model makes of it; as JSON, once it is whole.

    Raises:
        InputError: for a pair of texts, and for a text that is too long.
    """
    from pipeline.standalone.predict import single_texts

    prompts = single_texts(student.classifier, texts)
    # Every prompt is read, or refused, before anything is printed.
    written = [
        student.stream(prompt, tokens=tokens, temperature=temperature, seed=seed)
        for prompt in prompts
    ]
    for text, pieces in zip(prompts, written, strict=True):
        if as_json:
            (answer,) = student.answer(
                [text], tokens=tokens, temperature=temperature, seed=seed
            ).answers
            typer.echo(json.dumps({"text": text, **answer}, ensure_ascii=False))
            continue
        typer.echo(text, nl=False)
        for piece in pieces:
            typer.echo(piece, nl=False)
        typer.echo()
