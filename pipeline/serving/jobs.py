"""Records of the queue: a model that answers, an answer, and a request that waits for one.

Shapes: N = rows of one request, W = words, T = tokens, C = outputs per text or word.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.inference.classifier import Classifier

Row = Mapping[str, Sequence[int] | np.ndarray]
"""One text or row of a tensor, by the names of the graph's inputs: each T numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A model that answers requests."""

    classifier: Classifier
    version: int
    """Number in the registry; 0 for a fixed bundle."""
    bundle_sha256: str
    labels: tuple[str, ...]
    max_tokens: int
    """Longest input that it reads."""
    id_limits: Mapping[str, int]
    """Number of embeddings behind an input of ids, by its name; ids are below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The outputs of one request, and the model that gave them."""

    outputs: np.ndarray
    """(N, C); (N, W, C) for the texts of a task with outputs for every word."""
    served: Served
    truncated: Sequence[int] = ()
    """Positions of texts that are longer than the model reads."""


@dataclass(kw_only=True, slots=True)
class Job:
    """One request in the queue: its rows, and the outputs so far."""

    served: Served
    """Model that was current when the request came; it answers all its rows."""
    rows: Sequence[Row]
    are_texts: bool
    """Whether the rows may be padded: texts may, rows of a client's tensor may not."""
    gather: Callable[[Sequence[np.ndarray]], np.ndarray] = np.stack
    """(outputs of all rows) -> those of the answer."""
    truncated: Sequence[int] = ()
    """Positions of texts that are longer than the model reads."""
    answer: "asyncio.Future[Answer]" = field(
        init=False, default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    left: list[int] = field(init=False)
    """Numbers of the rows that have not run, longest first: the next one is the last."""
    outputs: dict[int, np.ndarray] = field(init=False, default_factory=dict)
    """Output of each row that has run: (C,), or (T, C) of its tokens."""

    def __post_init__(self) -> None:
        self.left = sorted(range(len(self.rows)), key=self.width, reverse=True)

    def width(self, number: int) -> int:
        """Return the tokens of a row."""
        return len(self.rows[number]["input_ids"])

    @property
    def tokens(self) -> int:
        """Tokens of the rows that have not run: the cost of the job."""
        return sum(self.width(number) for number in self.left)

    @property
    def is_over(self) -> bool:
        """Whether it is answered, or nobody waits for it any longer."""
        return self.answer.done()

    def give(self, number: int, result: np.ndarray | Exception) -> None:
        """Take the output of a row, or why there is none; answer when every row has run."""
        if self.is_over:
            return
        if isinstance(result, Exception):
            self.answer.set_exception(result)
            return
        self.outputs[number] = result
        if len(self.outputs) == len(self.rows):
            outputs = self.gather([self.outputs[number] for number in range(len(self.rows))])
            self.answer.set_result(
                Answer(outputs=outputs, served=self.served, truncated=self.truncated)
            )
