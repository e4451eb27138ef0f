"""Shared fixtures: a Prefect server; the others are in the modules named here."""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub client is imported, so before all else

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

_FIXTURES = (
    "support.tiny_store",
    "support.tiny_models",
    "support.tiny_language",
    "support.tiny_stages",
    "support.task_chains",
    "support.hub_files",
    "support.onnx_graphs",
    "support.sealed_runs",
    "support.smoke_runs",
)
# The process that hands tests to others runs none: it does without torch, which takes seconds.
_RUNS_TESTS = "PYTEST_XDIST_WORKER" in os.environ or "--numprocesses" not in sys.argv
pytest_plugins = ("support.tiers", *(_FIXTURES if _RUNS_TESTS else ()))


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of this session's own Prefect server; its tests share the xdist group ``prefect``."""
    # Imported here, because most workers never need it.
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    settings = {
        PREFECT_HOME: tmp_path_factory.mktemp("prefect"),
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with ExitStack() as stack:
        stack.enter_context(temporary_settings(settings))
        stack.enter_context(prefect_test_harness(server_startup_timeout=120))
        yield str(PREFECT_API_URL.value())
