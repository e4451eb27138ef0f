"""The text of a proposed config: TOML, with what was seen and assumed in comments."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.facts.data import DataFacts
from pipeline.tasks.columns import Proposal
from pipeline.tasks.task import Task

_WIDTH = 98
_LISTED = 10
"""Labels whose counts are named."""
_TEXTS_TO_SEE = 30_000
"""Texts that a training shall see, those of further epochs included."""
_MOST_EPOCHS = 10
_STEP = 8
"""Lengths are multiples of this."""
_SHORTEST = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """How long the texts are, and what a model takes."""

    tokens: Sequence[int]
    """Tokens of each text that was measured, special tokens included."""
    longest: int
    """Tokens that the model takes, at most."""
    are_estimated: bool = False
    """Whether the tokens were estimated by the words, without the model's tokenizer."""

    @property
    def limit(self) -> int:
        """Value of ``data.max_length``: 99 % of the texts are no longer, if the model can."""
        wanted = _rounded(float(np.quantile(self.tokens, 0.99)))
        return max(min(_SHORTEST, self.longest), min(wanted, self.longest))

    @property
    def usual(self) -> int:
        """Length at which latency is measured: that of half of the texts."""
        return min(self.limit, _rounded(float(np.median(self.tokens))))

    def said(self) -> str:
        """Return the lengths as a sentence."""
        half, most = (round(float(np.quantile(self.tokens, part))) for part in (0.5, 0.99))
        limit = self.limit
        cut = sum(each > limit for each in self.tokens)
        how = " (estimated by words, without the model)" if self.are_estimated else ""
        return (
            f"99 % of the texts have up to {most:,} tokens (half of them up to {half:,}){how}; "
            f"max_length = {limit} cuts {cut:,} of {len(self.tokens):,}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """All that a proposed config says."""

    name: str
    task: Task
    source: str
    proposal: Proposal
    model: str
    sizes: Mapping[str, int | float]
    """Sizes of the held-out splits, as the config gives them."""
    facts: DataFacts
    lengths: Lengths
    assumed: tuple[str, ...]
    """Assumptions about the task, in sentences."""

    @property
    def epochs(self) -> int:
        """Passes over the training texts: more of them where they are few."""
        return min(_MOST_EPOCHS, max(1, round(_TEXTS_TO_SEE / self.facts.sizes["train"])))

    @property
    def batch_size(self) -> int:
        """Texts per step: fewer where they are long, or where every token has its own loss."""
        if self.task.continues:
            return 8
        return 32 if self.lengths.limit <= 128 else 16 if self.lengths.limit <= 256 else 8

    def said(self) -> tuple[str, ...]:
        """Return what was assumed, in clauses."""
        sizes = self.facts.sizes
        held = (
            f"{sizes['validation']:,} texts are held out for validation, and {sizes['test']:,} for "
            f"the test, each {self._drawn_by} in proportion"
        )
        return (*self.assumed, *self.proposal.assumed, held, self.lengths.said(), self.model_said())

    @property
    def _drawn_by(self) -> str:
        return "size" if self.task.continues else "label"

    def model_said(self) -> str:
        """Return which backbone is taken."""
        return f"the backbone is {self.model}"


def slug(stem: str) -> str:
    """Return a student's name by a file's: lower-case letters, digits and dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:63].strip("-")
    return name or "student"


def config_text(draft: Draft) -> str:
    """Return the config as TOML."""
    return "\n".join([*_head(draft), "", *_data(draft), "", *_trainings(draft), ""])


def _head(draft: Draft) -> Iterator[str]:
    yield from _comment(
        f"Proposed by `adapter-distill new` from {json.dumps(draft.source)}. Every line can be "
        "changed; paths are relative to where the command is run. `adapter-distill config FILE` "
        "shows the settings that are left at their defaults."
    )
    yield f"name = {_toml(draft.name)}"
    yield f"task = {_toml(draft.task.name)}"


def _data(draft: Draft) -> Iterator[str]:
    proposal, facts = draft.proposal, draft.facts
    yield "[data]"
    yield f"train = {_toml(draft.source)}"
    for sentence in proposal.assumed:
        yield from _comment(_sentence(sentence))
    yield f"text = {_toml(_one_or_all(proposal.text))}"
    if proposal.label:
        yield f"label = {_toml(_one_or_all(proposal.label))}"
        yield from _comment(_counted(facts))
    if proposal.labels:
        yield f"labels = {_toml(proposal.labels)}"
    for line in facts.said():
        yield from _comment(_sentence(line.removeprefix("data: ")))
    yield from _comment(
        "A whole number is a number of texts, a fraction a part of train. Files of your own take "
        'their place: validation = "FILE", test = "FILE".'
    )
    yield f"validation_size = {_toml(draft.sizes['validation'])}"
    yield f"test_size = {_toml(draft.sizes['test'])}"
    yield from _comment(_sentence(draft.lengths.said()))
    yield f"max_length = {draft.lengths.limit}"


def _trainings(draft: Draft) -> Iterator[str]:
    size, epochs = draft.facts.sizes["train"], draft.epochs
    continues = draft.task.continues
    steps = -(-size // draft.batch_size) * epochs
    yield "[teacher]"
    yield f"model = {_toml(draft.model)}"
    yield from ("", "[teacher.adapter]")
    yield from ('kind = "pfeiffer"' if continues else 'kind = "houlsby"', "bottleneck_size = 64")
    yield from ("", "[finetune]")
    yield from _comment(
        f"{size:,} training texts in {epochs} epochs are {steps:,} steps. Training stops early "
        "if the validation split gains nothing."
    )
    yield from (f"epochs = {epochs}", f"batch_size = {draft.batch_size}")
    yield f"learning_rate = {'1e-3' if continues else '2e-3'}"
    yield from ("dropout = 0.0", "evaluations_per_epoch = 1", "")
    if continues:
        yield "[absorb]"
        yield from _comment("Without new biases, the student's graph is the plain backbone's.")
        yield from (f"batch_size = {draft.batch_size}", "add_biases = false", "")
    yield "[distill]"
    yield from _comment("Absorption leaves little to learn, so few texts are enough.")
    yield from ("epochs = 1", "texts = 1000", f"batch_size = {draft.batch_size}")
    yield from ("learning_rate = 1e-5", "evaluations_per_epoch = 1")
    yield from ("temperature = 1.0", "") if continues else ("",)
    yield "[benchmark]"
    yield from _comment("Latency of one text of the usual length.")
    yield from ("batch_sizes = [1]", f"lengths = [{draft.lengths.usual}]")


def _counted(facts: DataFacts) -> str:
    """Return the number of texts of each label."""
    counts: dict[str, int] = {}
    for split in facts.label_counts.values():
        for label, count in split.items():
            counts[label] = counts.get(label, 0) + count
    order = sorted(counts, key=lambda label: -counts[label])
    listed = ", ".join(f"{counts[label]:,} {label!r}" for label in order[:_LISTED])
    rest = f", and {len(order) - _LISTED:,} more" if len(order) > _LISTED else ""
    return f"Labels of all texts: {listed}{rest}."


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _one_or_all(names: Sequence[str]) -> str | Sequence[str]:
    return names[0] if len(names) == 1 else names


def _toml(value: str | float | Sequence[str]) -> str:
    """Return a value as TOML; a long list has a line for each of its values."""
    if isinstance(value, str):
        # JSON's strings are TOML's, but for the one control character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    values = [_toml(each) for each in value]
    line = f"[{', '.join(values)}]"
    return line if len(line) <= _WIDTH else "\n".join(["[", *(f"    {v}," for v in values), "]"])


def _rounded(tokens: float) -> int:
    return int(-(-tokens // _STEP) * _STEP)
