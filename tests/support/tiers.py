"""Tiers of tests, and the architectures that stand for all of them in the quick ones.

``unit``: no training and no process. ``stage``: tiny models through the stages. ``system``:
Prefect, servers, processes. A test's folder and fixtures say its tier, unless it is marked with
one. Beside them ``slow`` marks what scripts/slow runs.
"""

import gc
import multiprocessing.process
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

STANDING_FOR_ALL = ("bert", "albert", "gpt2", "llama")
"""LayerNorm after each half; one shared layer; transposed dense layers; gated, LayerNorm first."""

_TIERS = ("unit", "stage", "system")
_SYSTEM_FIXTURES = {"prefect_server", "installation", "cli"}
_SYSTEM_FOLDERS = ("flows", "pipeline/workers", "pipeline/serving")
_STAGE_FOLDERS = (
    *("models/absorption", "pipeline/chain", "pipeline/checkpoints", "pipeline/graphs"),
    *("pipeline/release", "pipeline/report", "pipeline/stages"),
    *("pipeline/standalone", "pipeline/timing", "pipeline/training"),
)
_ROOT = Path(__file__).parents[1]

# Imports and collection make no garbage, only objects that every collection would look at again.
gc.disable()
# By fixture: the group of tests that one process runs, because the fixture takes a minute.
_GROUPS = {"installation": "operations", "prefect_server": "prefect"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tiers; keep tests of a costly fixture in one process, longest first."""
    _mark_tiers(items)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            used = [group for name, group in _GROUPS.items() if name in item.fixturenames]
            item.add_marker(pytest.mark.xdist_group(used[0] if used else str(item.path)))
    longest = list(_GROUPS.values())

    def rank(item: pytest.Item) -> int:
        group = item.get_closest_marker("xdist_group").args[0]
        return longest.index(group) if group in longest else len(longest)

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Collect garbage from here on, and leave aside what imports have made."""
    gc.freeze()
    gc.enable()


def _mark_tiers(items: list[pytest.Item]) -> None:
    """Mark each test with its tier, and as slow what another architecture stands for."""
    for item in items:
        if not any(item.get_closest_marker(tier) for tier in _TIERS):
            item.add_marker(getattr(pytest.mark, _tier(item)))
    _thin_out(items)


def _tier(item: pytest.Item) -> str:
    folder = item.path.relative_to(_ROOT).parent.as_posix()
    if folder.startswith(_SYSTEM_FOLDERS) or _SYSTEM_FIXTURES & set(item.fixturenames):
        return "system"
    uses_stages = any(name in item.fixturenames for name in ("tiny_store", "finish"))
    return "stage" if uses_stages or folder.startswith(_STAGE_FOLDERS) else "unit"


def _thin_out(items: list[pytest.Item]) -> None:
    """Leave four architectures of each test that is run for many."""
    variants = defaultdict(list)
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if "model_type" in parameters:
            function = f"{item.path}::{item.originalname}"
            variants[function].append((item, parameters["model_type"]))
    for found in variants.values():
        if any(model_type in STANDING_FOR_ALL for _, model_type in found):
            for item, model_type in found:
                if model_type not in STANDING_FOR_ALL:
                    item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _tier_keeps_its_word(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a unit test that starts a process or trains."""
    if request.node.get_closest_marker("unit") is None:
        return

    def refuse(*_, **__):
        pytest.fail("a unit test starts no process and trains nothing: mark it stage or system")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)
    if "transformers" in sys.modules:
        from transformers import Trainer

        monkeypatch.setattr(Trainer, "train", refuse)
