"""A chain as a plain program: a generator that yields its items and is sent their results.

It yields a `Step` for each stage, and `Independent` steps where none needs another. A `Lookup` is
for what must be found first. The driver decides where each is done. `drive` needs only a store; the
flows make each item a task of Prefect.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from pipeline.chain.stage_names import STAGES
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.store.shared import SharedStages
from pipeline.store.stage import Stage
from pipeline.store.step import Step
from pipeline.store.store import Store

Facts = TypeVar("Facts")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup(Generic[Value]):
    """An item that a hub may have, and that is looked up before anything is built."""

    name: str
    find: Callable[[], Value]


@dataclass(frozen=True, kw_only=True, slots=True)
class Independent(Generic[Facts]):
    """Steps that need nothing of one another, so that they may be built at the same time."""

    steps: tuple[Step[Facts], ...]


Item = Step[Any] | Independent[Any] | Lookup[Any]
# Any: what is sent back belongs to what was yielded; `built` and `found` say so by their types.
Program = Generator[Item, Any, Value]
Perform = Callable[[Item], Any]


def built(step: Step[Facts]) -> Program[Stage[Facts]]:
    """Ask for a stage, as ``yield from`` does, and return it."""
    stage: Stage[Facts] = yield step
    return stage


def built_together(steps: tuple[Step[Facts], ...]) -> Program[tuple[Stage[Facts], ...]]:
    """Ask for several stages, as ``yield from`` does, and return them in their order."""
    stages: tuple[Stage[Facts], ...] = yield Independent(steps=steps)
    return stages


def found(lookup: Lookup[Value]) -> Program[Value]:
    """Ask for something that is to be found, and return it."""
    value: Value = yield lookup
    return value


def store_of(config: RunConfig) -> Store:
    """Return the store of a config's stages, which builds in this process."""
    uri = config.shared_stages
    return Store(
        root=config.runs_dir / STAGES, shared=None if uri is None else SharedStages(uri=uri)
    )


def perform(store: Store, item: Item) -> Any:
    """Build steps or look something up, in this process."""
    if isinstance(item, Independent):
        return tuple(map(store.ensure, item.steps))
    return store.ensure(item) if isinstance(item, Step) else item.find()


def progress(program: Program[Value], perform: Perform) -> Generator[Stage[Any], None, Value]:
    """Drive a program; yield each stage as it is finished, and return what the program does.

    An `InputError` of an item is raised in the program, which may go on without that item.
    """
    advance: Callable[[], Item] = partial(next, program)
    while True:
        try:
            item = advance()
        except StopIteration as end:
            value: Value = end.value
            return value
        try:
            answer = perform(item)
        except InputError as error:
            advance = partial(program.throw, error)
            continue
        advance = partial(program.send, answer)
        if isinstance(item, Step):
            yield answer
        elif isinstance(item, Independent):
            yield from answer


def drive(program: Program[Value], perform: Perform) -> Value:
    """Drive a program to its end, and return what it does."""
    stages = progress(program, perform)
    while True:
        try:
            next(stages)
        except StopIteration as end:
            value: Value = end.value
            return value
