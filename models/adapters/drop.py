"""AdapterDrop: no adapters in the lower layers, always or for one training step.

Adapters of lower layers matter least and cost as much as the others (Rücklé et al., 2021,
https://arxiv.org/abs/2010.11918). Without them, nothing below the first adapter needs a gradient. A
model trained with a random number of them dropped (section 3.2, robust AdapterDrop) works with any
number dropped later.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from models.adapters.hooks import site_of
from models.adapters.site import AdapterSite
from models.architectures.architecture import Architecture, Position

_POSITIONS: tuple[Position, ...] = ("attention", "ffn")


def check_droppable(model: nn.Module, architecture: Architecture, layers: int) -> None:
    """Refuse to drop the adapters of so many layers where none would be left.

    Raises:
        ValueError: saying how many there are.
    """
    count = len(architecture.layers(model))
    if architecture.shared_layers and layers:
        raise ValueError(
            "this backbone runs one layer several times, so its adapters are dropped from all of "
            "them or none"
        )
    if layers >= count:
        raise ValueError(
            f"the backbone has {count} layers, so the adapters of at most {count - 1} can be "
            f"dropped, found {layers}"
        )


def drop_adapters(model: nn.Module, architecture: Architecture, layers: int) -> None:
    """Take all adapters, and what composes them, out of the first layers of a backbone, in place.

    Raises:
        ValueError: when no layer would be left.
    """
    check_droppable(model, architecture, layers)
    for site in _sites_below(model, architecture, layers):
        for modules in (site.adapters, site.fusions, site.weights):
            modules.clear()
        site.settings.clear()


@contextmanager
def drop_randomly(model: nn.Module, architecture: Architecture, most: int) -> Iterator[None]:
    """Switch off, within the block, the adapters of the first n layers in each training step.

    n is drawn anew from 0 to ``most`` each time the backbone runs in training mode. Torch's own
    generator draws it, so a resumed training draws the same numbers.

    Args:
        model: The backbone.
        architecture: Where its layers are.
        most: The largest n.

    Raises:
        ValueError: when no layer would be left.
    """
    check_droppable(model, architecture, most)
    sites = _sites_below(model, architecture, most)

    # Any: torch types a hook's module and arguments as such.
    def draw(backbone: Any, _: Any) -> None:
        dropped = int(torch.randint(most + 1, ())) if backbone.training else 0
        off = {id(site) for site in _sites_below(model, architecture, dropped)}
        for site in sites:
            site.is_dropped = id(site) in off

    handle = model.register_forward_pre_hook(draw)
    try:
        yield
    finally:
        handle.remove()
        for site in sites:
            site.is_dropped = False


def _sites_below(model: nn.Module, architecture: Architecture, layers: int) -> list[AdapterSite]:
    """Return the sites of the first layers of a backbone."""
    found = [
        site_of(layer, architecture, position)
        for layer in architecture.layers(model)[:layers]
        for position in _POSITIONS
    ]
    return [site for site in found if site is not None]
