"""The queue: who goes first, what shares a call, and what is given up."""

import asyncio
import dataclasses
import time

import numpy as np
import pytest

from pipeline.serving.batching import Batcher
from pipeline.serving.errors import DeadlineError, OverloadedError
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import load_fixed


class Watched:
    """A classifier that writes down the shape of each call, and may take its time."""

    def __init__(self, classifier, seconds=0.0):
        self._classifier, self._seconds = classifier, seconds
        self.calls = []

    def __getattr__(self, name):
        return getattr(self._classifier, name)

    def run(self, inputs):
        time.sleep(self._seconds)
        self.calls.append(next(iter(inputs.values())).shape)
        return self._classifier.run(inputs)


def run(sealed, work, *, seconds=0.0, mixes_rows=False, **changes):
    """Return what ``work(batcher, served)`` returns, the calls, and the metrics."""

    async def main():
        settings = ServeSettings(**changes)
        metrics = ServerMetrics()
        batcher = Batcher("tiny", settings, metrics)
        served = load_fixed(sealed(), threads=1)
        model = dataclasses.replace(served.classifier, mixes_rows=mixes_rows)
        watched = Watched(model, seconds)
        running = asyncio.create_task(batcher.run())
        result = await work(batcher, dataclasses.replace(served, classifier=watched))
        await asyncio.sleep(0.05)
        running.cancel()
        batcher.close()
        return result, watched.calls, metrics.registry.get_sample_value

    return asyncio.run(main())


def text(tokens):
    """Return a text of so many tokens, the special ones included."""
    return (" ".join(["good"] * (tokens - 2)),)


LARGE = [text(16)] * 20


def test_a_small_request_does_not_wait_behind_long_texts(sealed):
    order = []

    async def ask(batcher, served, name, texts):
        await batcher.submit(served, texts)
        order.append(name)

    async def work(batcher, served):
        large = [asyncio.create_task(ask(batcher, served, "large", LARGE)) for _ in range(3)]
        await asyncio.sleep(0.1)  # the first one's calls have begun
        await ask(batcher, served, "small", [text(4)])
        await asyncio.gather(*large)

    _, calls, __ = run(sealed, work, seconds=0.05, max_batch_tokens=64, deadline_ms=20_000)

    assert order == ["small", "large", "large", "large"]
    assert max(rows * width for rows, width in calls) <= 64


def test_of_costly_requests_the_cheaper_goes_first_and_none_is_passed_for_ever(sealed):
    order = []

    async def ask(batcher, served, name, rows):
        await batcher.submit(served, [text(16)] * rows)
        order.append(name)

    async def work(batcher, served):
        tasks = [asyncio.create_task(ask(batcher, served, "60", 60))]
        await asyncio.sleep(0.05)
        for _ in range(8):  # each comes when the one before is done
            await ask(batcher, served, "17", 17)
        await asyncio.gather(*tasks)

    run(sealed, work, seconds=0.02, max_batch_tokens=64, deadline_ms=20_000)

    assert order[0] == "17"
    assert order.index("60") in (1, 2, 3, 4)


def test_a_request_is_dropped_between_calls_when_nobody_waits(sealed):
    async def work(batcher, served):
        asked = asyncio.create_task(batcher.submit(served, LARGE))
        await asyncio.sleep(0.15)
        asked.cancel()
        return await asyncio.gather(asked, return_exceptions=True)

    (fault,), calls, sample = run(
        sealed, work, seconds=0.05, max_batch_tokens=16, deadline_ms=20_000
    )

    assert isinstance(fault, asyncio.CancelledError)
    assert 1 <= len(calls) < 20
    assert sample("distill_dropped_texts_total", {"model": "tiny"}) == 20 - len(calls)
    assert sample("distill_queue_texts", {"model": "tiny"}) == 0


def test_a_request_whose_deadline_passed_is_dropped_too(sealed):
    async def work(batcher, served):
        with pytest.raises(DeadlineError):
            await batcher.submit(served, LARGE)

    _, calls, __ = run(sealed, work, seconds=0.05, max_batch_tokens=16, deadline_ms=150)

    assert len(calls) < 20


def test_what_cannot_be_done_in_time_is_refused_at_once(sealed):
    async def work(batcher, served):
        await batcher.submit(served, LARGE)  # 20 calls, 0.4 s
        asked = [asyncio.create_task(batcher.submit(served, LARGE)) for _ in range(6)]
        return await asyncio.gather(*asked, return_exceptions=True)

    results, calls, __ = run(sealed, work, seconds=0.02, max_batch_tokens=16, deadline_ms=1500)

    refused = [each for each in results if isinstance(each, OverloadedError)]
    assert 1 <= len(refused) <= 5
    assert len(calls) <= 20 * (7 - len(refused))


@pytest.mark.parametrize(
    "limit", [{"max_queue_texts": 3}, {"max_queue_characters": 30}], ids=["texts", "characters"]
)
def test_texts_and_characters_that_wait_are_bounded(sealed, limit):
    async def work(batcher, served):
        asked = [batcher.submit(served, [text(4)] * 2) for _ in range(4)]
        return await asyncio.gather(*asked, return_exceptions=True)

    results, *_ = run(sealed, work, **limit)

    assert [type(each).__name__ for each in results].count("OverloadedError") == 3


def test_large_requests_leave_room_for_small_ones(sealed):
    async def work(batcher, served):
        asked = [batcher.submit(served, [text(4)] * 64) for _ in range(8)]
        asked += [batcher.submit(served, [text(4)]) for _ in range(20)]
        return await asyncio.gather(*asked, return_exceptions=True)

    results, *_ = run(sealed, work, deadline_ms=20_000)

    refused = [isinstance(each, OverloadedError) for each in results]
    assert refused[:8] == [False] * 3 + [True] * 5
    assert not any(refused[8:])


def test_long_texts_are_made_tokens_of_in_turns(sealed):
    async def work(batcher, served):
        long = ("good film " * 2000,)
        results = await asyncio.gather(
            batcher.submit(served, [long] * 8), batcher.submit(served, [long])
        )
        return [answer.outputs for answer in results]

    (many, one), *_ = run(sealed, work, deadline_ms=20_000)

    assert many.shape == (8, 2)
    np.testing.assert_allclose(many, one.repeat(8, axis=0), atol=1e-5)


@pytest.mark.parametrize("mix", [False, True])
def test_rows_that_would_change_each_other_run_alone_unless_it_is_asked_for(sealed, mix):
    ids = np.array([[2, 5, 3], [2, 6, 3]])
    tensors = {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    async def work(batcher, served):
        return await asyncio.gather(
            batcher.submit(served, [text(4), text(8), text(8)]), batcher.submit(served, tensors)
        )

    results, calls, __ = run(sealed, work, mixes_rows=True, mix_rows=mix)

    assert [len(each.outputs) for each in results] == [3, 2]
    assert all(rows == 1 for rows, _ in calls) is not mix
    assert len(calls) == 5 or mix


def test_outputs_come_back_in_the_order_of_the_texts(sealed):
    texts = [text(9), ("dull",), text(3), ("boring plot",)]

    async def work(batcher, served):
        together = await batcher.submit(served, texts)
        alone = [await batcher.submit(served, [each]) for each in texts]
        return together.outputs, np.concatenate([each.outputs for each in alone])

    (together, alone), *_ = run(sealed, work)

    np.testing.assert_allclose(together, alone, atol=1e-5)
