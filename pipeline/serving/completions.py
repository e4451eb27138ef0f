"""Completions of a language model's requests, one after another, within limits.

A model has one thread for them. A request that cannot begin before its deadline is refused. One
that has begun ends when its time is up, or when nobody waits for it.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.errors import InputError
from pipeline.inference.generation import Completion, Limits, Writer
from pipeline.serving.errors import DeadlineError, RequestError
from pipeline.serving.jobs import Served
from pipeline.serving.settings import ServeSettings


class CompletionLane:
    """The thread that continues the prompts of one model."""

    def __init__(self, name: str, settings: ServeSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"completions-{name}")

    async def complete(
        self, served: Served, prompts: Sequence[str], tokens: int | None
    ) -> list[Completion]:
        """Return a completion of each prompt.

        Args:
            served: A language model.
            prompts: Texts.
            tokens: Most tokens of each completion; None takes as many as the settings accept.

        Raises:
            RequestError: for a prompt that is too long, and where the deadline passed before the
                first could be begun.
        """
        writer = served.classifier.writer
        if writer is None:
            raise RequestError("This model does not continue texts: leave max_tokens out.")
        most = self._settings.max_completion_tokens
        if tokens is not None and tokens > most:
            raise RequestError(f"At most {most} tokens per completion.")
        loop, stop = asyncio.get_running_loop(), threading.Event()
        try:
            return await loop.run_in_executor(
                self._thread,
                self._run,
                writer,
                list(prompts),
                tokens or most,
                (time.monotonic(), stop),
            )
        except InputError as error:
            raise RequestError(str(error)) from error
        finally:
            stop.set()  # also when the client is gone

    def close(self) -> None:
        """Let the thread end after its request."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(
        self,
        writer: Writer,
        prompts: Sequence[str],
        tokens: int,
        waiting: tuple[float, threading.Event],
    ) -> list[Completion]:
        came, stop = waiting
        started = time.monotonic()
        if stop.is_set() or 1000 * (started - came) > self._settings.deadline_ms:
            raise DeadlineError("The request waited too long. Try again in a moment.")
        ids = [writer.read(each, most=self._settings.max_prompt_tokens) for each in prompts]
        ends = started + self._settings.completion_s
        return [_write(writer, each, tokens, ends, stop) for each in ids]


def _write(
    writer: Writer, ids: np.ndarray, tokens: int, ends: float, stop: threading.Event
) -> Completion:
    completion = Completion()
    limits = Limits(tokens=tokens, seconds=ends - time.monotonic())
    for _ in writer.write(ids, limits, completion):
        if stop.is_set():
            break
    return completion
