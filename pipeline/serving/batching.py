"""Micro-batching: what waits while the model runs is answered by its next call.

There is no artificial delay. A lone request runs at once; under load the queue grows during each
call, and the calls get larger until they keep up. The queue is bounded, and a request that waited
past its deadline is not run. The model is looked up once a call, so that a swap between two calls
loses nothing.

Shapes: N = rows of one request, T = tokens, C = outputs per text.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from pipeline.inference.classifier import Classifier
from pipeline.serving.errors import DeadlineError, NotReadyError, OverloadedError, RequestError
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.settings import ServeSettings

Texts = Sequence[tuple[str, ...]]
Tensors = dict[str, np.ndarray]
_REFUSED = "The model does not take these tensors: a token id, a shape or a mask is out of range."


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
    """(N, C)."""
    served: Served


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    content: Texts | Tensors
    rows: int
    answer: "asyncio.Future[Answer]"


class Batcher:
    """The queue of one model, and the one thread that runs it."""

    def __init__(
        self,
        name: str,
        current: Callable[[], Served | None],
        settings: ServeSettings,
        metrics: ServerMetrics,
    ) -> None:
        self._name, self._current = name, current
        self._settings, self._metrics = settings, metrics
        self._waiting: deque[_Job] = deque()
        self._rows = 0
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"model-{name}")

    async def submit(self, content: Texts | Tensors, rows: int) -> Answer:
        """Return the answer to a request's texts or tensors.

        Raises:
            RequestError: when the queue is full, the deadline passed, or the model refuses it.
        """
        if self._rows + rows > self._settings.max_queue_texts:
            raise OverloadedError("Too many requests are waiting. Try again in a moment.")
        job = _Job(content=content, rows=rows, answer=asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._count(rows)
        self._wake.set()
        try:
            async with asyncio.timeout(self._settings.deadline_ms / 1000):
                return await job.answer
        except TimeoutError as error:
            raise DeadlineError("The request waited too long. Try again in a moment.") from error

    async def run(self) -> None:
        """Answer requests until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            jobs = self._take()
            if not jobs:
                self._wake.clear()
                continue
            served = self._current()
            if served is None:
                _fail(jobs, NotReadyError("The model is not ready."))
                continue
            results = await loop.run_in_executor(self._thread, self._call, served, jobs)
            for job, result in zip(jobs, results, strict=True):
                if job.answer.done():
                    continue
                if isinstance(result, Exception):
                    job.answer.set_exception(result)
                else:
                    job.answer.set_result(Answer(outputs=result, served=served))

    def close(self) -> None:
        """Let the thread end after its call."""
        self._thread.shutdown(wait=False)

    def _take(self) -> list[_Job]:
        """Take the next call's requests from the queue, those passed over that gave up."""
        jobs: list[_Job] = []
        limit = self._settings.max_batch_texts if self._settings.batching else 1
        rows = 0
        while self._waiting and (not jobs or rows + self._waiting[0].rows <= limit):
            job = self._waiting.popleft()
            self._count(-job.rows)
            if not job.answer.done():
                jobs.append(job)
                rows += job.rows
        return jobs

    def _count(self, rows: int) -> None:
        self._rows += rows
        self._metrics.queue_texts.labels(self._name).set(self._rows)

    def _call(self, served: Served, jobs: Sequence[_Job]) -> list[np.ndarray | Exception]:
        """Run a batch; where it fails, each request alone, so that one cannot fail the others."""
        started = time.perf_counter()
        try:
            results: list[np.ndarray | Exception] = list(self._outputs(served, jobs))
        except Exception:  # whatever onnxruntime or tokenizers raise
            results = [self._alone(served, job) for job in jobs]
        self._metrics.calls.labels(self._name).observe(time.perf_counter() - started)
        self._metrics.batch_texts.labels(self._name).observe(sum(job.rows for job in jobs))
        return results

    def _alone(self, served: Served, job: _Job) -> np.ndarray | Exception:
        try:
            return self._outputs(served, [job])[0]
        except Exception as error:  # whatever onnxruntime or tokenizers raise
            return RequestError(_REFUSED) if isinstance(job.content, dict) else error

    def _outputs(self, served: Served, jobs: Sequence[_Job]) -> list[np.ndarray]:
        """Return each request's outputs, (N, C): all texts in one call, tensors by their width."""
        groups: dict[object, list[int]] = {}
        for index, job in enumerate(jobs):
            groups.setdefault(_kind(job.content), []).append(index)
        results: dict[int, np.ndarray] = {}
        for members in groups.values():
            outputs = self._outputs_of_kind(served, [jobs[index].content for index in members])
            start = 0
            for index in members:
                results[index] = outputs[start : start + jobs[index].rows]
                start += jobs[index].rows
        return [results[index] for index in range(len(jobs))]

    def _outputs_of_kind(self, served: Served, contents: Sequence[Texts | Tensors]) -> np.ndarray:
        tensors = [content for content in contents if isinstance(content, dict)]
        if tensors:
            merged = {name: np.concatenate([each[name] for each in tensors]) for name in tensors[0]}
            return served.classifier.run(merged)
        texts = [text for content in contents if not isinstance(content, dict) for text in content]
        return served.classifier.outputs(
            texts,
            batch_size=self._settings.max_batch_texts,
            batch_tokens=self._settings.max_batch_tokens,
        )


def _kind(content: Texts | Tensors) -> object:
    """Return what requests must share to be run as one tensor."""
    if isinstance(content, dict):
        return tuple(sorted((name, array.shape[1]) for name, array in content.items()))
    return "texts"


def _fail(jobs: Sequence[_Job], error: RequestError) -> None:
    for job in jobs:
        with contextlib.suppress(asyncio.InvalidStateError):
            job.answer.set_exception(error)
