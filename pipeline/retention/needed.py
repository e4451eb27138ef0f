"""Runs and stages that are needed, each with the reason.

A run needs the stages that its links lead to. It also needs every run or stage that its config
names, such as ``teacher.start`` and ``data.splits_of`` of a retraining. Names of folders are
unique, so a name in a path counts wherever the runs folder was mounted.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.chain.stage_names import STAGES
from pipeline.release.challenge import LAST
from pipeline.retention.inventory import Found, Inventory, is_held
from pipeline.retention.settings import Retention

_TOKEN = re.compile(r"[A-Za-z0-9_.-]+")


def find_needed(
    contents: Inventory,
    asked: Retention,
    registered: Mapping[str, str],
    *,
    now_s: float,
    is_publishing: bool,
) -> dict[Path, str]:
    """Return everything of a runs folder that must stay, with the reason.

    Args:
        contents: What is there.
        asked: How much is kept by age and number.
        registered: Reason by id of each run that the registry needs.
        now_s: Time of now, in seconds of Unix time.
        is_publishing: Whether a run's folder is being written.
    """
    by_name = {each.path.name: each for each in contents.found if each.kind in ("run", "stage")}
    needed: dict[Path, str] = {}
    waiting = [
        *_by_age(contents, now_s - asked.keep_s),
        *_in_work(contents, is_publishing=is_publishing),
        *_newest(contents, asked.keep_runs),
        *((by_name[run], why) for run, why in registered.items() if run in by_name),
        *_mentioned([contents.root / LAST], by_name, "the last retraining's champion"),
        *((each, why) for path in contents.others for each, why in _linked(path, by_name)),
    ]
    while waiting:
        each, why = waiting.pop()
        if each.path in needed:
            continue
        needed[each.path] = why
        if each.kind == "run":
            named = f"run {each.path.name} names it in its config"
            waiting += _linked(each.path, by_name)
            waiting += _mentioned([each.path / "config.json"], by_name, named)
    return needed


def _by_age(contents: Inventory, oldest_s: float) -> Iterator[tuple[Found, str]]:
    for each in contents.found:
        if each.kind != "trash" and each.used_s >= oldest_s:
            yield each, "used lately"


def _in_work(contents: Inventory, *, is_publishing: bool) -> Iterator[tuple[Found, str]]:
    """Yield what is being written, and all finished stages while any run is at work.

    A stage that is built does not say which others its run has used before.
    """
    for each in contents.found:
        is_written = is_publishing if each.kind == "half-written run" else _is_locked(each)
        if is_written:
            yield each, "being written now"
    locks = (contents.root / STAGES).glob(".*.lock")
    if is_publishing or any(map(is_held, locks)):
        for each in contents.of("stage"):
            yield each, "a run is at work now, which may need it"


def _is_locked(each: Found) -> bool:
    return each.lock is not None and is_held(each.lock)


def _newest(contents: Inventory, number: int) -> Iterator[tuple[Found, str]]:
    runs: dict[str, list[Found]] = {}
    for each in contents.of("run"):
        runs.setdefault(each.student, []).append(each)
    for student, listed in runs.items():
        listed.sort(key=lambda run: (run.used_s, run.path.name), reverse=True)
        for each in listed[:number]:
            yield each, f"one of the newest {number} of {student}"


def _mentioned(
    files: Iterable[Path], by_name: Mapping[str, Found], why: str
) -> Iterator[tuple[Found, str]]:
    for file in files:
        if file.is_file():
            text = file.read_text("utf-8", "replace")
            yield from ((by_name[name], why) for name in _names_in(text, by_name))


def _linked(path: Path, by_name: Mapping[str, Found]) -> Iterator[tuple[Found, str]]:
    """Yield what the links in a folder lead to, or the link itself."""
    for link in _links(path):
        # Not Path.resolve, which raises where links lead in a circle.
        for name in _names_in(f"{link.readlink()} {os.path.realpath(link)}", by_name):
            if by_name[name].path != path:
                yield by_name[name], f"{link.relative_to(path.parent)} leads to it"


def _links(path: Path) -> Iterator[Path]:
    if path.is_symlink():
        yield path
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            if (Path(folder) / name).is_symlink():
                yield Path(folder) / name


def _names_in(text: str, by_name: Mapping[str, Found]) -> set[str]:
    return set(_TOKEN.findall(text)) & by_name.keys()
