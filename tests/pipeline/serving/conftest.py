import asyncio
import contextlib

import httpx
import pytest

from pipeline.release.bundle import seal_bundle
from pipeline.serving.application import make_application
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.protocol import Plane, Student
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import install, load_fixed, make_slot


@pytest.fixture(scope="session")
def sealed(write_words_bundle, tmp_path_factory):
    """``sealed(seed)``: a sealed bundle that no test may change."""
    folders = {}

    def sealed(seed=0):
        if seed not in folders:
            folders[seed] = write_words_bundle(
                tmp_path_factory.mktemp("sealed") / "student", seed=seed
            )
            seal_bundle(folders[seed])
        return folders[seed]

    return sealed


@pytest.fixture
def serving(sealed):
    """``async with serving(**settings) as (client, plane, metrics)``: without a process."""

    @contextlib.asynccontextmanager
    async def serving(**changes):
        settings = ServeSettings(bundles={"tiny": sealed()}, threads=1, **changes)
        metrics = ServerMetrics()
        slot = make_slot("tiny", settings, metrics)
        install(slot, load_fixed(sealed(), threads=1), metrics)
        plane = Plane([Student(slot, settings)])
        answering = asyncio.create_task(slot.batcher.run())
        transport = httpx.ASGITransport(make_application(plane, settings, metrics))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client, plane, metrics
        answering.cancel()
        slot.batcher.close()

    return serving
