"""Answers of an exported student, without torch."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, refusing
from pipeline.inference.classifier import Classifier, load_bundle
from pipeline.inference.generation import Completion, Limits
from pipeline.workers.threads import count_idle_threads

logger = logging.getLogger(__name__)

_LISTED = 10
"""Truncated texts that are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Answers to texts, in their order."""

    answers: list[dict[str, Any]]
    """Each as the student's task gives it, in plain JSON."""
    truncated: tuple[int, ...]
    """Positions of the texts that are longer than the student reads; a part of them was cut."""
    max_length: int
    """Longest input, in tokens."""

    def said(self) -> str | None:
        """Return what to know of truncated texts; None where there is none."""
        if not self.truncated:
            return None
        count = len(self.truncated)
        numbers = ", ".join(str(position + 1) for position in self.truncated[:_LISTED])
        rest = f" and {count - _LISTED:,} more" if count > _LISTED else ""
        return (
            f"{count:,} of {len(self.answers):,} texts are longer than the {self.max_length:,} "
            f"tokens that the student reads, and were cut: number {numbers}{rest}"
        )


def predict(
    bundle: Path, texts: Sequence[str | tuple[str, ...]], *, limits: Limits | None = None
) -> list[dict[str, Any]]:
    """Return the answer to each text, as the student's task gives it; log which texts are cut.

    Args:
        bundle: Folder of the student.
        texts: Texts, or tuples of one or two.
        limits: Limits of a language model's completions.

    Raises:
        InputError: when the folder is not a bundle, or a damaged one.
    """
    found = answer_texts(open_student(bundle), texts, name=str(bundle), limits=limits)
    if said := found.said():
        logger.warning("%s", said)
    return found.answers


def limits_of(
    model: Classifier, tokens: int | None, temperature: float | None, seed: int | None
) -> Limits:
    """Return the limits of a completion; those that are None have their defaults.

    Raises:
        InputError: where some are given, and the model does not continue texts; and for limits
            that no completion can keep.
    """
    named = {"tokens": tokens, "temperature": temperature, "seed": seed}
    given = [name for name, value in named.items() if value is not None]
    if given and model.writer is None:
        raise InputError(
            f"{', '.join(given)}: limits of completions are for language models; this student is "
            f"one of {model.task.name}. Leave them out."
        )
    usual = Limits()
    return Limits(
        tokens=usual.tokens if tokens is None else tokens,
        temperature=usual.temperature if temperature is None else temperature,
        seed=usual.seed if seed is None else seed,
    )


def stream(model: Classifier, prompt: str, limits: Limits) -> Iterator[str]:
    """Return what a language model writes after a prompt, piece by piece; the prompt is read now.

    Raises:
        InputError: for another kind of model, and a prompt without tokens or a longer one.
    """
    if model.writer is None:
        raise InputError(f"A {model.task.name} does not continue texts: ask it for its answers.")
    return model.writer.write(model.writer.read(prompt), limits, Completion())


def single_texts(model: Classifier, texts: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the texts of a language model.

    Raises:
        InputError: for a pair.
    """
    if any(len(text) != 1 for text in texts):
        raise InputError(f"A {model.task.name} takes single texts, found a pair. Give one text.")
    return [text for (text,) in texts]


def open_student(bundle: Path) -> Classifier:
    """Return a student, with as many threads as are idle.

    Raises:
        InputError: when the folder is not a bundle, or a damaged one.
    """
    return load_bundle(bundle, threads=count_idle_threads())


def answer_texts(
    model: Classifier,
    texts: Sequence[str | tuple[str, ...]],
    *,
    name: str,
    limits: Limits | None = None,
) -> Answers:
    """Return the answer to each text, and which texts were cut.

    A classification answers with ``label``, its ``score``, and ``scores`` of all labels. A
    multi-label task answers with ``labels`` and ``scores``, a regression with ``value``, and a
    token classification with ``entities``. A question answering has ``answer``, its ``start``,
    ``end`` and ``score``, and ``candidates``. A language model answers with a ``completion``, its
    number of ``tokens`` and what it was ``ended_by``.

    Args:
        model: Bundle in memory.
        texts: Texts, or tuples of one or two.
        name: Name of the model in messages.
        limits: Limits of a language model's completions.

    Raises:
        InputError: when the model cannot answer.
    """
    with refusing(f"{name} cannot answer", "Export it again, or copy it anew."):
        given = [(text,) if isinstance(text, str) else text for text in texts]
        if model.writer is None:
            answers = model.answers(model.outputs(given), given)
        else:
            prompts = single_texts(model, given)
            completions = [model.writer.complete(text, limits or Limits()) for text in prompts]
            answers = model.task.answers(completions, model.labels, given)
        truncated = model.find_truncated(given)
    return Answers(
        answers=answers, truncated=truncated, max_length=model.encoder.settings.max_length
    )
