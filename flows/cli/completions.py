"""Completions on the terminal: a language model's text, shown while it is generated."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from pipeline.errors import InputError
from pipeline.inference.generation import Completion, Limits

if TYPE_CHECKING:
    from pipeline.inference.classifier import Classifier
    from pipeline.texts.tables import Text


def print_completions(
    model: "Classifier", texts: "Sequence[Text]", limits: Limits, *, as_json: bool
) -> None:
    """Print every text with what the model makes of it; as JSON, once it is whole.

    Raises:
        InputError: for a pair of texts, and for a text that is too long.
    """
    writer = model.writer
    if writer is None:
        raise TypeError(f"a {model.task.name} does not continue texts")
    if any(len(text) != 1 for text in texts):
        raise InputError(f"A {model.task.name} takes single texts, found a pair. Give one text.")
    prompts = [writer.read(text) for (text,) in texts]  # or refuse before anything is printed
    for (text,), ids in zip(texts, prompts, strict=True):
        completion = Completion()
        pieces = writer.write(ids, limits, completion)
        if as_json:
            for _ in pieces:
                pass
            (answer,) = model.task.answers([completion], model.labels, [text])
            typer.echo(json.dumps({"text": text, **answer}, ensure_ascii=False))
            continue
        typer.echo(text, nl=False)
        for piece in pieces:
            typer.echo(piece, nl=False)
        typer.echo()


def limits_of(
    model: "Classifier", max_tokens: int | None, temperature: float | None, seed: int | None
) -> Limits:
    """Return the limits that a command was given.

    Raises:
        InputError: where some are given, and the model does not continue texts.
    """
    given = {"tokens": max_tokens, "temperature": temperature, "seed": seed}
    given = {name: value for name, value in given.items() if value is not None}
    if given and model.writer is None:
        raise InputError(
            f"--max-tokens, --temperature and --seed are for language models; this student is one "
            f"of {model.task.name}. Leave them out."
        )
    return Limits(**given)  # type: ignore[arg-type] # each has its option's type
