"""Causal language modelling: the token that follows each token of a text.

A text needs no label, because its own tokens are the labels. The head over the vocabulary belongs
to the backbone. Only the teacher's adapters therefore train, and the baseline is the unchanged
backbone. The hard loss is cross-entropy of the token that follows. The soft loss is T² KL to the
teacher over some likely tokens and the sum of the rest (models/token_layout.py). A student
continues texts.

Shapes: N = texts, T = tokens; readings are (N, T, R).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from pipeline.config import DataConfig, GateConfig
from pipeline.decisions.check import Check, make_check
from pipeline.decisions.quality import (
    agreement,
    gained,
    least_quality,
    quality_lost,
    unsure_gain,
)
from pipeline.facts.quality import EvaluateFacts
from pipeline.tasks.columns import Column, Given, Proposal, UnfitError, find_texts
from pipeline.tasks.task import LabelColumn, Labels, Shift, Task, Words
from pipeline.tasks.token_metrics import (
    TOKEN_FIDELITY,
    TOKEN_QUALITY,
    commonest_token,
    mean_nats,
)
from pipeline.texts.cells import Label

if TYPE_CHECKING:  # pyarrow, which tables imports, would cost a server 40 MB
    from models.losses import Objective
    from pipeline.texts.tables import Text

_CONSTANT = "how common each token is"
_PLAIN = "the plain backbone"
_SIZES = (0, 100, 300, 1_000, 3_000, 10_000)
"""Lower bounds of the ranges of size that texts are drawn and counted by, in bytes."""


class CompletionAnswer(BaseModel):
    """The answer to one prompt."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    completion: str
    """Text that continues the prompt."""
    tokens: int
    """Number of tokens of the completion."""
    ended_by: Literal["end", "tokens", "time"]
    """Reason for the end: the model's own (``end``), or a limit of ``tokens`` or ``time``."""


def completion_answers(
    completions: Sequence[Any], _names: Sequence[str], _texts: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """Return each completion as plain JSON."""
    return [
        {"completion": each.text, "tokens": len(each.ids), "ended_by": each.ended_by}
        for each in completions
    ]


def perplexity_grown(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    """Return the rise of perplexity from teacher to student, relative to the teacher's."""
    teacher = evaluation.teacher.values["perplexity"]
    growth = evaluation.change.values["perplexity"]
    low, high = evaluation.change.intervals["perplexity"]
    return make_check(
        "perplexity gained against the teacher",
        growth / teacher,
        ("at most", config.max_perplexity_growth),
        interval=(low / teacher, high / teacher),
        reason=(
            f"The student's perplexity per token is {teacher + growth:.3f}, the teacher's "
            f"{teacher:.3f} (difference {low:+.3f} to {high:+.3f}); gate.max_perplexity_growth "
            f"accepts {config.max_perplexity_growth:.2%} more."
        ),
    )


def _checks(evaluation: EvaluateFacts, config: GateConfig) -> tuple[Check, ...]:
    return (
        perplexity_grown(evaluation, config),
        quality_lost(evaluation, config, "token_accuracy"),
        agreement(
            evaluation,
            config,
            "token_agreement",
            "Student and teacher find the same token most likely at {} of the positions",
        ),
        *gained(evaluation, config, "token_accuracy", _CONSTANT, plain=_PLAIN),
        *least_quality(evaluation, config, "token_accuracy"),
    )


def _warnings(evaluation: EvaluateFacts, _config: GateConfig) -> tuple[str, ...]:
    return unsure_gain(evaluation, "token_accuracy", _CONSTANT, plain=_PLAIN)


def _size_of(text: "Text") -> Label:
    """Return a text's size in bytes, which takes the place of its label."""
    return len("".join(text).encode())


def _no_names(_config: DataConfig) -> tuple[str, ...]:
    return ()


def _no_labels(_columns: Sequence[LabelColumn], _config: DataConfig) -> list[list[Label | None]]:
    raise TypeError("a language model's texts have no labels to read")


def _propose_texts(columns: Sequence[Column], given: Given) -> Proposal:
    """Return the column of texts; all other columns are ignored.

    Raises:
        UnfitError: for a label, which such texts do not have. Also where the column is not certain.
    """
    if given.label:
        raise UnfitError(
            f"A causal-lm has no labels, found --label {given.label[0]}. Leave --label out, or "
            "name another task."
        )
    text, assumed = find_texts(columns, given, most=1)
    return Proposal(text=text, label=(), backbone="a decoder, such as SmolLM2", assumed=assumed)


def _check_texts(_sizes: Sequence[Label], _names: Sequence[str]) -> str | None:
    return None


def _ranges(sizes: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Return the range that each size is in."""
    ranges: np.ndarray = np.searchsorted(_SIZES, np.asarray(sizes), side="right") - 1
    return ranges


def _strata(sizes: Sequence[Label]) -> list[int]:
    return [int(group) for group in _ranges(sizes)]


def _count_sizes(
    splits: Mapping[str, np.ndarray], _names: Sequence[str]
) -> dict[str, dict[str, int]]:
    names = [f"{low} to {high - 1} bytes" for low, high in pairwise(_SIZES)]
    names.append(f"from {_SIZES[-1]} bytes")
    return {
        split: dict(
            zip(names, map(int, np.bincount(_ranges(sizes), minlength=len(names))), strict=True)
        )
        for split, sizes in splits.items()
    }


def _shifts(
    old: np.ndarray, new: np.ndarray, readings_old: np.ndarray, readings_new: np.ndarray
) -> list[Shift]:
    from pipeline.statistics.two_samples import two_samples

    nats = [mean_nats(readings, old) for readings in (readings_old, readings_new)]
    return [
        Shift(name="bytes per text", **two_samples(old, new)),
        Shift(name="the champion's nats per token", **two_samples(*nats)),
    ]


def _objective() -> "Objective":
    from models.next_tokens import LANGUAGE_OBJECTIVE

    return LANGUAGE_OBJECTIVE


def _agrees(agreement: float) -> str:
    return f"has its teacher's likeliest token at {agreement:.1%} of the positions"


CAUSAL_LM = Task(
    name="causal-lm",
    labels=Labels(
        dtype=np.int64,
        names=_no_names,
        read=_no_labels,
        check=_check_texts,
        strata=_strata,
        counts=_count_sizes,
        of_text=_size_of,
        propose=_propose_texts,
    ),
    words=Words(
        loss="cross-entropy per token, nats",
        distance="KL to the teacher per token (nats)",
        agreement="positions with the teacher's likeliest token",
        agrees=_agrees,
        constant=_CONSTANT,
        plain=_PLAIN,
        model="language model",
        intended_use="to continue texts like those of its test split (source below).",
        limits=(
            "It continues any text, and knows nothing of what is true.",
            "It was measured on single texts up to the longest input; generated texts may be "
            "longer.",
        ),
        hub_task="text-generation",
        hub_metrics={"perplexity": "perplexity", "token_accuracy": "accuracy"},
    ),
    objective=_objective,
    main_metric="token_accuracy",
    agreement="token_agreement",
    distance="mean_kl",
    metrics=TOKEN_QUALITY,
    fidelity=TOKEN_FIDELITY,
    errors=mean_nats,
    constant=commonest_token,
    members=None,
    checks=_checks,
    warnings=_warnings,
    shifts=_shifts,
    answers=completion_answers,
    answer_type=CompletionAnswer,
    hub_head="causal_lm",
    model_suffix=("ForCausalLM", "LMHeadModel"),
    continues=True,
)
"""The token that follows each token of a text."""
