"""A lane: waiting requests in the order of their cost, and the one thread that runs them.

There is no artificial delay. A lone request runs at once. Under load the queue grows during each
call, and the calls get larger until they keep up.

A request goes before another if it is done earlier when both get equal shares of the lane (finish
times of fair queueing). A cheap request therefore passes costly ones, and a costly one cannot be
passed for ever. A call takes rows and not requests. Before each, requests are dropped that nobody
waits for any longer, also when some of their rows have run.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np

from pipeline.inference.tokens import Tokens
from pipeline.serving.errors import OverloadedError, RequestError
from pipeline.serving.jobs import Answer, Job
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.settings import ServeSettings

_REFUSED = "The model does not take these tensors: a token id, a shape or a mask is out of range."
_WEIGHT = 0.2
"""Weight of the last call in the lane's average speed."""

_Taken = tuple[Job, int]
"""A request, and the number of its row that is in the call."""


class Lane:
    """A queue in the order of cost, and the thread that runs its requests."""

    def __init__(self, name: str, settings: ServeSettings, metrics: ServerMetrics) -> None:
        self._name, self._settings, self._metrics = name, settings, metrics
        self._waiting: list[tuple[int, int, Job]] = []
        self._numbers = itertools.count()
        self._tokens_run = 0
        """The clock of fair queueing."""
        self._speed: float | None = None
        """Tokens a second, averaged over the last calls."""
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"model-{name}")

    async def answer(self, job: Job) -> Answer:
        """Return a request's answer.

        Raises:
            RequestError: when it cannot be done within the deadline, or the model refuses it.
        """
        finish = self._tokens_run + job.tokens
        self._check_time(job, finish)
        heapq.heappush(self._waiting, (finish, next(self._numbers), job))
        self._wake.set()
        return await job.answer

    async def run(self) -> None:
        """Answer requests until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            taken = self._take()
            if not taken:
                self._wake.clear()
                await self._wake.wait()
                continue
            started = time.perf_counter()
            results = await loop.run_in_executor(self._thread, self._call, taken)
            self._record(taken, time.perf_counter() - started)
            for (job, number), result in zip(taken, results, strict=True):
                job.give(number, result)

    def close(self) -> None:
        """Let the thread end after its call."""
        self._thread.shutdown(wait=False)

    def _check_time(self, job: Job, finish: int) -> None:
        """Refuse a request that those before it leave no time for; an idle lane takes any."""
        before = sum(other.tokens for end, _, other in self._waiting if end <= finish)
        if not before or self._speed is None:
            return
        if 1000 * (before + job.tokens) / self._speed > self._settings.deadline_ms:
            raise OverloadedError(
                "More texts are waiting than can be answered in time. Try again in a moment, or "
                "send fewer or shorter texts."
            )

    def _take(self) -> list[_Taken]:
        """Take the next call's rows from the queue."""
        taken: list[_Taken] = []
        width = 0
        while self._waiting:
            job = self._waiting[0][2]
            if job.is_over:
                self._metrics.dropped_texts.labels(self._name).inc(len(job.left))
                heapq.heappop(self._waiting)
                continue
            width = max(width, job.width(job.left[-1]))
            if taken and not self._fits(taken, job, width):
                break
            taken.append((job, job.left.pop()))
            if not job.left:
                heapq.heappop(self._waiting)
        return taken

    def _fits(self, taken: Sequence[_Taken], job: Job, width: int) -> bool:
        settings = self._settings
        rows = len(taken) + 1
        is_allowed = settings.batching or job is taken[0][0]
        is_small = rows <= settings.max_batch_texts and rows * width <= settings.max_batch_tokens
        return is_allowed and is_small

    def _record(self, taken: Sequence[_Taken], seconds: float) -> None:
        tokens = sum(job.width(number) for job, number in taken)
        self._tokens_run += tokens
        speed = tokens / max(seconds, 1e-6)
        self._speed = (
            speed if self._speed is None else self._speed + _WEIGHT * (speed - self._speed)
        )
        self._metrics.calls.labels(self._name).observe(seconds)
        self._metrics.batch_texts.labels(self._name).observe(len(taken))

    def _call(self, taken: Sequence[_Taken]) -> list[np.ndarray | Exception]:
        """Return the output (C,) of each row: as few batches as its model and kind allow."""
        batches: dict[object, list[int]] = {}
        for index, (job, number) in enumerate(taken):
            batches.setdefault(self._batch_of(job, number), []).append(index)
        results: dict[int, np.ndarray | Exception] = {}
        for members in batches.values():
            results |= zip(members, _outputs([taken[index] for index in members]), strict=True)
        return [results[index] for index in range(len(taken))]

    def _batch_of(self, job: Job, number: int) -> object:
        """Return what rows must share to be run as one tensor."""
        classifier = job.served.classifier
        if classifier.mixes_rows and not self._settings.mix_rows:
            return id(job), number
        if job.are_texts:
            return id(job.served)
        return id(job.served), tuple(sorted(job.rows[number])), job.width(number)


def _outputs(taken: Sequence[_Taken]) -> Sequence[np.ndarray | Exception]:
    """Run one batch; where it fails, each row alone, so that one cannot fail the others."""
    job = taken[0][0]
    classifier = job.served.classifier
    rows = [each.rows[number] for each, number in taken]
    try:
        if job.are_texts:
            texts = cast(Sequence[Tokens], rows)
            return list(classifier.run(classifier.pad(texts)))
        return list(classifier.run({name: np.stack([r[name] for r in rows]) for name in rows[0]}))
    except Exception as error:  # whatever onnxruntime raises
        if len(taken) == 1:
            return [error if job.are_texts else RequestError(_REFUSED)]
    return [_outputs([each])[0] for each in taken]
