"""One stage to build: its function, its input stages and its settings.

``build`` is called with the input stages, the settings and an empty folder, and with nothing else.
Key and call are made of the same two fields. A build therefore cannot read anything outside its
key.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar, TypeVarTuple

from pydantic import BaseModel

from pipeline.store.digests import sha256_json
from pipeline.store.stage import Stage

Facts = TypeVar("Facts")
Settings = TypeVar("Settings")
Inputs = TypeVarTuple("Inputs")

# A new minor version of these may compute other numbers.
_COMPUTING = ("adapter-distill", "torch", "transformers", "onnx", "onnxruntime")
# Looked up once: it takes milliseconds, and no key changes while a process runs.
_version_of = cache(version)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step(Generic[Facts]):
    """A stage to build."""

    name: str
    # ...: the inputs are of any number and kind; `step` checks them against the function.
    build: Callable[..., Facts]
    """(inputs ..., settings, folder) -> facts; it fills the folder."""
    inputs: tuple[Stage[Any] | tuple[Stage[Any], ...] | None, ...]
    """Finished stages, or tuples of them; None for an optional one that this run does not have."""
    settings: object
    """A frozen record of everything else that shapes the result."""
    facts: type[Facts]
    reaches_out: bool = False
    """Whether it may need a hub, and is tried again where that is out of reach."""
    again: bool = False
    """Build it even where it is finished: a measurement that was disturbed."""
    said: Callable[[Facts], Sequence[str]] | None = None
    """(facts) -> lines that are logged whenever the stage is built or used again."""

    def run(self, folder: Path) -> Facts:
        """Build the stage in a folder."""
        return self.build(*self.inputs, self.settings, folder)

    @property
    def key(self) -> str:
        """Name of its folder: equal exactly when nothing that shapes the result changed."""
        versions = {package: _version_of(package) for package in _COMPUTING}
        made_of = [self.name, as_key(self.settings), as_key(self.inputs), versions]
        return sha256_json(made_of)[:24]


def step(
    name: str,
    build: Callable[[*Inputs, Settings, Path], Facts],
    *inputs: *Inputs,
    settings: Settings,
    facts: type[Facts],
    reaches_out: bool = False,
    again: bool = False,
    said: Callable[[Facts], Sequence[str]] | None = None,
) -> Step[Facts]:
    """Return a step whose inputs and settings are those that its function takes."""
    return Step(
        name=name,
        build=build,
        inputs=inputs,  # type: ignore[arg-type] # stages all: a TypeVarTuple has no bound
        settings=settings,
        facts=facts,
        reaches_out=reaches_out,
        again=again,
        said=said,
    )


def as_key(value: object) -> object:
    """Return what of a setting shapes a result, as plain JSON.

    A record says it itself with a method ``key``; else it is all its fields.
    """
    if isinstance(value, Stage):
        return value.digest
    own = getattr(value, "key", None)
    if callable(own) and not isinstance(value, type):
        return as_key(own())
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_key(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_key(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_key(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return value
