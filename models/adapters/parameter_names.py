"""Parameters of a teacher that belong to an adapter, recognised by their names."""

ADAPTER = "adapter"
"""Name under which a site depends on the module whose output it changes."""


def is_adapter_parameter(name: str) -> bool:
    """Tell from its name whether a parameter belongs to an adapter."""
    return ADAPTER in name.split(".")


def renamed_parameter(parameter: str, adapter: str, name: str) -> str | None:
    """Return what a parameter of one adapter would be called if the adapter had another name.

    None for parameters of other adapters, and of none.
    """
    parts = parameter.split(".")
    if ADAPTER not in parts:
        return None
    place = parts.index(ADAPTER) + 2  # behind the site, and its list of adapters or couplings
    if not is_adapter_parameter(parameter) or is_composition_parameter(parameter):
        return None
    return (
        ".".join((*parts[:place], name, *parts[place + 1 :])) if parts[place] == adapter else None
    )


def is_composition_parameter(name: str) -> bool:
    """Tell from its name whether a parameter belongs to a composition, not to one adapter."""
    parts = name.split(".")
    return ADAPTER in parts and parts[parts.index(ADAPTER) + 1] in ("fusions", "weights")
