"""Base class of every table of the config."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict


def _without_markup(schema: dict[str, Any]) -> None:
    """Remove double backticks from a schema's descriptions, because a form would show them."""
    for part in (schema, *schema.get("properties", {}).values()):
        if "description" in part:
            part["description"] = " ".join(part["description"].replace("``", "").split())


class Section(BaseModel):
    """A table of the config: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        json_schema_extra=_without_markup,
        field_title_generator=lambda name, _: name.replace("_", " ").capitalize(),
    )


def offer_choice(schema: dict[str, Any]) -> None:
    """Let a form offer the choice: forms know anyOf, and not pydantic's oneOf."""
    schema["anyOf"] = schema.pop("oneOf")


def accept_old_name(old: str, new: str) -> Callable[[object], object]:
    """Return a validator, to run before all others, that reads a setting under its old name too."""

    def rename(values: object) -> object:
        if not isinstance(values, dict) or old not in values:
            return values
        if new in values:
            raise ValueError(f"{old} is the old name of {new}: give one of them")
        return {new if name == old else name: value for name, value in values.items()}

    return rename
