"""Texts as rows of a model: one row per text, or one per window where the task has a layout.

The task's layout turns the outputs of rows into those of texts. A split is cut here exactly as the
bundle of its student cuts texts.

Shapes: N = texts, R = rows, T = tokens, C = outputs per text or token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from models.token_layout import FOLLOWING
from pipeline.checkpoints.tokenizers import token_settings
from pipeline.errors import InputError
from pipeline.inference.token_windows import cut_windows, join_windows, part_windows
from pipeline.inference.tokens import in_windows
from pipeline.tasks.layout import Layout, Window
from pipeline.tasks.task import Task
from pipeline.texts.cells import MISSING_LABEL
from pipeline.texts.soft_targets import SoftTargets
from pipeline.texts.tables import Text
from pipeline.training.encoding import Example, encode, encode_windows
from pipeline.workers.bars import hides_bars

TEXTS_AT_ONCE = 10_000
"""Number of texts whose rows are in memory at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Rows of a model: encoded texts, or windows of texts."""

    texts: tuple[Text, ...]
    examples: list[Example]
    """Inputs of the model for each row, with ``labels`` if `label_rows` added them."""
    layout: Layout | None = None
    windows: tuple[Window, ...] = ()
    """Windows that the rows are; empty where each text is one row."""

    def read(self, outputs: np.ndarray) -> np.ndarray:
        """Return the outputs of the texts, (N, ...), from those of all rows, (R, ...)."""
        if self.layout is not None:
            return self.layout.gather(self.windows, enumerate(outputs), len(self.texts))
        if not self.windows:
            return outputs
        parts = {row: outputs[row][window.places] for row, window in enumerate(self.windows)}
        return join_windows(self.windows, parts, len(self.texts))

    def spread(self, readings: np.ndarray) -> np.ndarray:
        """Return readings of texts, (N, P, R), as readings of rows, (R, T, R); NaN elsewhere.

        Other outputs are returned unchanged.
        """
        if self.layout is not None or not self.windows:
            return readings
        longest = max(len(example["input_ids"]) for example in self.examples)
        rows = np.full((len(self.windows), longest, readings.shape[2]), np.nan, np.float32)
        for row, part in enumerate(part_windows(self.windows, readings)):
            rows[row, self.windows[row].places] = part
        return rows

    @property
    def counting(self) -> list[np.ndarray] | None:
        """Tokens of each row that count; None where all count."""
        if self.layout is None or not self.layout.is_joint:
            return None
        return [self.layout.positions(window) for window in self.windows]

    @property
    def text_of(self) -> np.ndarray:
        """Number of the text of each row, (R,)."""
        found = [window.text for window in self.windows]
        return np.array(found if self.windows else range(len(self.texts)), dtype=np.int64)

    @property
    def keys(self) -> list[Text]:
        """Keys of the rows: the text, and the number of a window that is not its first."""
        keys: list[Text] = []
        last = number = -1
        for window in self.windows:
            number = number + 1 if window.text == last else 0
            last = window.text
            keys.append((*self.texts[last], *([f"window {number}"] if number else [])))
        return keys if self.windows else list(self.texts)


def make_rows(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], task: Task, *, max_length: int
) -> Rows:
    """Return texts of the data as rows of at most ``max_length`` tokens.

    Raises:
        InputError: for texts that the tokenizer cannot read or cut.
    """
    texts, layout = tuple(texts), task.layout
    if task.continues:
        examples, encodings = encode_windows(tokenizer, texts, max_length=max_length, windows_of=1)
        settings = in_windows(token_settings(tokenizer, max_length=max_length), 1)
        cut = cut_windows(encodings, settings)
        return Rows(texts=texts, examples=examples, windows=tuple(cut))
    if layout is None:
        return Rows(texts=texts, examples=encode(tokenizer, texts, max_length=max_length))
    examples, encodings = encode_windows(
        tokenizer, texts, max_length=max_length, windows_of=layout.columns
    )
    windows = layout.cut(texts, encodings, of_data=True)
    return Rows(texts=texts, examples=examples, layout=layout, windows=tuple(windows))


def row_parts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    task: Task,
    *,
    max_length: int,
    title: str | None = None,
    size: int = TEXTS_AT_ONCE,
) -> Iterator[Rows]:
    """Yield the rows of `make_rows`, of some texts at a time.

    Args:
        tokenizer: Tokenizer that encodes the texts.
        texts: Texts or pairs of the data.
        task: Task whose layout cuts the texts.
        max_length: Longest row, in tokens.
        size: Number of texts at a time; a tenth of it where every token has outputs.
        title: Text of a progress bar; None for no bar.
    """
    size = max(1, size // 10) if task.is_ragged else size
    disable = hides_bars() if title else True
    with tqdm(total=len(texts), desc=title, unit="text", leave=False, disable=disable) as bar:
        for start in range(0, len(texts), size):
            part = tuple(texts[start : start + size])
            yield make_rows(tokenizer, part, task, max_length=max_length)
            bar.update(len(part))


def label_rows(
    rows: Rows, labels: np.ndarray, task: Task, *, targets: np.ndarray | None = None
) -> Rows:
    """Return the rows with ``labels`` in their examples.

    Labels of tokens are at the tokens that they belong to, and -100 is at all others. Labels of a
    language model are the tokens that follow.

    Args:
        rows: Rows of a split.
        labels: Labels of the split.
        task: Task whose layout places the labels.
        targets: A teacher's outputs, (R, C) or (R, T, C); ``labels`` hold both, packed.

    Raises:
        InputError: when the teacher's outputs belong to a different tokenizer's tokens.
    """
    found: Sequence[object] | np.ndarray
    if task.continues:
        found = _following(rows) if targets is None else _as_targets(rows, targets)
    elif rows.layout is None:
        found = labels.tolist() if targets is None else task.pack(labels, targets)
    else:
        placed = [_place(rows.layout, window, labels) for window in rows.windows]
        found = placed if targets is None else _pack(rows.layout, placed, targets)
    examples = [{**e, "labels": y} for e, y in zip(rows.examples, found, strict=True)]
    return replace(rows, examples=examples)


def read_targets(targets: SoftTargets, rows: Rows) -> np.ndarray:
    """Return the teacher's outputs on rows, (R, C) or (R, T, C) float32.

    Raises:
        InputError: when the teacher cut the texts into other windows.
    """
    try:
        tokens = max(len(example["input_ids"]) for example in rows.examples)
        return targets.of(rows.keys, tokens=tokens)
    except KeyError as error:
        if not rows.windows:
            raise
        raise _other_tokens() from error


def _following(rows: Rows) -> list[list[int]]:
    """Return the token that follows each token in its row, (T,); -100 where it counts elsewhere."""
    found = []
    for example, window in zip(rows.examples, rows.windows, strict=True):
        ids = np.array(example["input_ids"])
        following = np.full(len(ids), MISSING_LABEL)
        following[window.places] = ids[window.places + 1]
        found.append(following.tolist())
    return found


def _as_targets(rows: Rows, targets: np.ndarray) -> list[np.ndarray]:
    """Return the teacher's readings of each row, (T, R), checked against the student's tokens."""
    found = []
    for example, window, whole in zip(rows.examples, rows.windows, targets, strict=True):
        ids = example["input_ids"]
        ends = np.isnan(whole[len(ids) :, FOLLOWING]).all()
        wanted = np.array([*ids[1:], np.nan])
        if not ends or not np.array_equal(whole[: len(ids), FOLLOWING], wanted, equal_nan=True):
            raise _other_tokens()
        readings = np.full((len(ids), whole.shape[1]), np.nan, np.float32)
        readings[window.places] = whole[window.places]
        found.append(readings)
    return found


def _place(layout: Layout, window: Window, labels: np.ndarray) -> list[int]:
    """Return the label of every token, (T,); -100 where none belongs."""
    tokens = np.full(max(1, len(window.encoding.ids)), MISSING_LABEL)
    tokens[layout.positions(window)] = layout.labels(labels[window.text], window)
    placed: list[int] = tokens.tolist()
    return placed


def _pack(layout: Layout, placed: Sequence[Sequence[int]], targets: np.ndarray) -> list[np.ndarray]:
    """Return rows of a token's label and the teacher's outputs, (T, 1 + C) float32 per row.

    Where labelled tokens share a distribution, tokens without a label have no outputs either.
    """
    tokens = (~np.isnan(targets[..., 0])).sum(axis=1)  # (R,)
    if not np.array_equal(tokens, [len(labels) for labels in placed]):
        raise _other_tokens()
    packed = []
    for labels, outputs in zip(placed, targets, strict=True):
        row = np.column_stack([labels, outputs[: len(labels)]]).astype(np.float32)
        if layout.is_joint:
            row[row[:, 0] == MISSING_LABEL, 1:] = np.nan
        packed.append(row)
    return packed


def _other_tokens() -> InputError:
    return InputError(
        "Student and teacher make different tokens of the texts, so the teacher's outputs do not "
        "fit the student's tokens. Set student.model to a model with the teacher's tokenizer."
    )
