"""Requests on their way to a model: limited, tokenised, and weighed by their tokens.

A request of few characters is tokenised at once. The others wait for one thread, which takes one
text of each in turn. Every model has two lanes (`pipeline.serving.lanes`). Requests of few tokens
have their own lane, so they never wait for a call with long texts. The queue is limited. A request
leaves it when its deadline passes or its client is gone.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np

from pipeline.errors import InputError
from pipeline.inference.generation import Completion
from pipeline.serving.completions import CompletionLane
from pipeline.serving.errors import DeadlineError, OverloadedError, RequestError
from pipeline.serving.jobs import Answer, Job, Served
from pipeline.serving.lanes import Lane
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.settings import ServeSettings

Texts = Sequence[tuple[str, ...]]
Tensors = dict[str, np.ndarray]
Result = TypeVar("Result")
_FEW_CHARACTERS = 2048
"""Most characters of a request that is tokenised at once, in under a millisecond."""
_FEW_TOKENS = 256
"""Most tokens of a request for the lane of small requests."""


class Batcher:
    """The requests of one model."""

    def __init__(self, name: str, settings: ServeSettings, metrics: ServerMetrics) -> None:
        self._name, self._settings, self._metrics = name, settings, metrics
        self._texts, self._characters = 0, 0
        self._small, self._large = (Lane(name, settings, metrics) for _ in range(2))
        self._tokenizing = ThreadPoolExecutor(1, thread_name_prefix=f"tokens-{name}")
        self._completions = CompletionLane(name, settings)

    async def submit(self, served: Served, content: Texts | Tensors) -> Answer:
        """Return a model's answer to a request's texts or tensors.

        Raises:
            RequestError: when too much waits, the deadline passed, or the model refuses it.
        """
        with self._held(content):
            try:
                async with asyncio.timeout(self._settings.deadline_ms / 1000):
                    job = await self._job(served, content)
                    lane = self._small if job.tokens <= _FEW_TOKENS else self._large
                    return await lane.answer(job)
            except TimeoutError as error:
                raise DeadlineError(
                    "The request waited too long. Try again in a moment."
                ) from error

    async def complete(self, served: Served, texts: Texts, tokens: int | None) -> list[Completion]:
        """Return a language model's completion of each text.

        Raises:
            RequestError: when too much waits, the deadline passed, or the model refuses it.
        """
        if any(len(text) != 1 for text in texts):
            raise RequestError("A language model takes single texts, found a pair.")
        with self._held(texts):
            return await self._completions.complete(served, [text for (text,) in texts], tokens)

    async def run(self) -> None:
        """Answer requests until cancelled."""
        async with asyncio.TaskGroup() as lanes:
            lanes.create_task(self._small.run())
            lanes.create_task(self._large.run())

    def close(self) -> None:
        """Let the threads end after their calls."""
        self._small.close()
        self._large.close()
        self._tokenizing.shutdown(wait=False)
        self._completions.close()

    @contextlib.contextmanager
    def _held(self, content: Texts | Tensors) -> Iterator[None]:
        """Count a request's texts and characters as long as it is here."""
        texts, characters = _size(content)
        has_room = _has_room(texts, self._texts, self._settings.max_queue_texts) and _has_room(
            characters, self._characters, self._settings.max_queue_characters
        )
        if not has_room:
            raise OverloadedError("Too many requests are waiting. Try again in a moment.")
        self._count(texts, characters)
        try:
            yield
        finally:
            self._count(-texts, -characters)

    def _count(self, texts: int, characters: int) -> None:
        self._texts += texts
        self._characters += characters
        self._metrics.queue_texts.labels(self._name).set(self._texts)

    async def _job(self, served: Served, content: Texts | Tensors) -> Job:
        """Return a request with its rows.

        Raises:
            RequestError: for texts that the model's task does not take.
        """
        if isinstance(content, dict):
            columns = zip(*content.values(), strict=True)
            rows = [dict(zip(content, row, strict=True)) for row in columns]
            return Job(served=served, rows=rows, are_texts=False)
        classifier = served.classifier
        layout = classifier.task.layout
        if layout is None:
            marked = await self._in_turns(
                lambda texts: list(zip(*classifier.encoder.encode_marked(texts), strict=True)),
                content,
            )
            cut = [position for position, (_, is_cut) in enumerate(marked) if is_cut]
            self._metrics.truncated_texts.labels(self._name).inc(len(cut))
            rows = [tokens for tokens, _ in marked]
            return Job(served=served, rows=rows, are_texts=True, truncated=cut)
        try:
            found = await self._in_turns(
                lambda texts: [classifier.windows([text]) for text in texts], content
            )
        except InputError as error:
            raise RequestError(str(error)) from error
        windows = [
            replace(window, text=number) for number, each in enumerate(found) for window in each
        ]
        return Job(
            served=served,
            rows=[classifier.encoder.tokens_of(window.encoding) for window in windows],
            are_texts=True,
            gather=lambda outputs: layout.gather(windows, enumerate(outputs), len(content)),
        )

    async def _in_turns(
        self, read: Callable[[Texts], Sequence[Result]], texts: Texts
    ) -> list[Result]:
        """Read texts: few characters at once, more one text at a time, in turns with others."""
        if _size(texts)[1] <= _FEW_CHARACTERS:
            return list(read(texts))
        loop = asyncio.get_running_loop()
        results: list[Result] = []
        for text in texts:
            results += await loop.run_in_executor(self._tokenizing, read, [text])
        return results


def _has_room(size: int, held: int, limit: int) -> bool:
    """Return whether a request may wait: it takes no more than half of the room that is left.

    Large requests therefore cannot fill the queue: smaller ones always find room beside them.
    """
    return size <= limit if held == 0 else 2 * size <= limit - held + 1


def _size(content: Texts | Tensors) -> tuple[int, int]:
    """Return a request's texts, or rows, and the characters of the texts."""
    if isinstance(content, dict):
        return len(next(iter(content.values()))), 0
    return len(content), sum(len(part) for text in content for part in text)
