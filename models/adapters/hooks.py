"""Adapters in a backbone: their sites, their inputs, and which of them are active.

Houlsby et al. (2019, https://arxiv.org/abs/1902.00751, figure 2) put two in each layer. One is
after attention and one after the FFN, before the layer's own residual sum and LayerNorm. Pfeiffer
et al. (2021, https://arxiv.org/abs/2005.00247) keep the one after the FFN. A parallel adapter (He
et al., 2022, https://arxiv.org/abs/2110.04366, section 4) is beside the FFN and sees its input.

Adapters attach to the modules of an untouched transformers model as forward hooks. The backbone's
classes and the names of its parameters stay as they are. Any number of adapters can be attached to
one backbone. They are activated, alone or composed, without a change of any weight.

Shapes: B = batch, T = tokens, D = hidden size.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.adapters.bottleneck import BottleneckAdapter, BottleneckSettings, Initialisation
from models.adapters.composition import (
    Composition,
    Fuse,
    Fusion,
    FusionSettings,
    Weighted,
    Weights,
    module_name,
    names_in,
    parts_of,
)
from models.adapters.invertible import add_invertible, invertible_site
from models.adapters.parameter_names import ADAPTER
from models.adapters.site import AdapterSettings, AdapterSite
from models.architectures.architecture import Architecture, Position

AdapterKind = Literal["houlsby", "pfeiffer", "parallel"]
_SITES = "_adapter_sites"
"""Name under which a backbone lists its sites."""


def settings_of(
    kind: AdapterKind,
    *,
    bottleneck_size: int,
    activation: str = "relu",
    scaling: float = 1.0,
    dropout: float = 0.0,
    drop_layers: int = 0,
) -> AdapterSettings:
    """Return the settings of a kind of adapter, which the first layers may have none of."""
    form = BottleneckSettings(
        bottleneck_size=bottleneck_size, activation=activation, scaling=scaling, dropout=dropout
    )
    return AdapterSettings(
        form=form,
        attention=kind == "houlsby",
        ffn=True,
        sees="input" if kind == "parallel" else "output",
        without=tuple(range(drop_layers)),
    )


def add_adapter(
    model: nn.Module,
    architecture: Architecture,
    name: str,
    settings: AdapterSettings,
    *,
    initialisation: Initialisation = "zero_up",
) -> None:
    """Attach a new adapter to every layer of a backbone, in place; it is not active yet.

    It is in the layer's own mode: in eval mode its dropout does nothing.

    Raises:
        ValueError: when the backbone has one of that name, the name holds a dot or a comma, or
            the adapter needs a LayerNorm after the residual sum where there is none.
    """
    if not name or set(".,") & set(name):
        raise ValueError(f"expected an adapter name without dots and commas, found {name!r}")
    if name in adapter_names(model):
        raise ValueError(f"the backbone already has an adapter named {name!r}")
    if architecture.norm_first and settings.after_norm:
        raise ValueError(
            "LayerNorm comes before each half of this backbone's layers: no adapter can stand "
            "behind it"
        )
    rule = None
    if settings.form.kronecker_factors is not None:
        factors = settings.form.kronecker_factors
        rule = nn.Parameter(torch.empty(factors, factors, factors).normal_())
    for number, layer in enumerate(architecture.layers(model)):
        for position in _positions(settings):
            if number in settings.without:
                continue
            site = _site(model, layer, architecture, position, after_norm=settings.after_norm)
            adapter = BottleneckAdapter(
                site.hidden_size,
                settings.form_in(number),
                initialisation=initialisation,
                rule=rule,
            )
            site.adapters[name] = adapter.to(_like(layer)).train(layer.training)
            site.settings[name] = settings
    # Kept, because a walk through all modules takes longer than switching may.
    setattr(_backbone(model), _SITES, [m for m in model.modules() if isinstance(m, AdapterSite)])
    if settings.invertible is not None:
        activation = settings.form.activation
        add_invertible(
            model, name, reduction=settings.invertible, activation=activation, at=ADAPTER
        )


def insert_adapters(
    model: nn.Module,
    architecture: Architecture,
    settings: AdapterSettings,
    *,
    initialisation: Initialisation = "zero_up",
    name: str = "task",
) -> None:
    """Attach a new adapter to every layer of a backbone, in place, and activate it."""
    add_adapter(model, architecture, name, settings, initialisation=initialisation)
    set_active(model, name)


def add_fusion(
    model: nn.Module, composition: Composition, settings: FusionSettings | None = None
) -> None:
    """Give every site with its adapters the parameters of a composition, in place.

    They are an AdapterFusion layer for each `Fuse` in it, and weights for each `Weighted`.

    Args:
        model: The backbone.
        composition: Of adapters that it has.
        settings: Of AdapterFusion; its defaults by default.
    """
    for site in adapter_sites(model):
        here = [name for name in names_in(composition) if name in site.adapters]
        for part in parts_of(composition) if here else ():
            name = module_name(part)
            if isinstance(part, Fuse) and name not in site.fusions:
                fusion = Fusion(site.hidden_size, settings or FusionSettings())
                site.fusions[name] = fusion.to(_like(site)).train(site.training)
            if isinstance(part, Weighted) and name not in site.weights:
                weights = Weights(len(part.children)).to(_like(site))
                site.weights[name] = weights.train(site.training)


def set_active(model: nn.Module, composition: Composition | None) -> None:
    """Choose the adapters that work from now on; None switches all of them off.

    No weight is touched or copied. Each forward pass uses what is active when it begins.

    Raises:
        ValueError: for an adapter, or a composition's parameters, that the backbone does not have.
    """
    sites = adapter_sites(model)
    if composition is not None:
        unknown = sorted(set(names_in(composition)) - adapter_names(model))
        if unknown:
            raise ValueError(
                f"the backbone has no adapters named {', '.join(unknown)}; it has "
                f"{', '.join(sorted(adapter_names(model))) or 'none'}"
            )
        for part in parts_of(composition):
            known = {name for site in sites for name in (*site.fusions, *site.weights)}
            if isinstance(part, Fuse | Weighted) and module_name(part) not in known:
                raise ValueError(
                    f"the backbone has no parameters for the composition of {module_name(part)}: "
                    "add them first"
                )
    for site in sites:
        site.active = composition
    if (embedded := invertible_site(model)) is not None:
        # As in the library, the first adapter's is the one that works.
        embedded.active = None if composition is None else next(names_in(composition))


def adapter_sites(model: nn.Module) -> list[AdapterSite]:
    """Return the sites of a model, in forward order of its modules."""
    sites: list[AdapterSite] = getattr(_backbone(model), _SITES, [])
    return sites


def site_of(layer: nn.Module, architecture: Architecture, position: Position) -> AdapterSite | None:
    """Return the site at one half of a layer, before or behind its LayerNorm, if there is one."""
    modules = architecture.dense(layer, position), architecture.norm_after(layer, position)
    sites = [getattr(module, ADAPTER, None) for module in modules if module is not None]
    return next((site for site in sites if isinstance(site, AdapterSite)), None)


def adapter_names(model: nn.Module) -> set[str]:
    """Return the names of the adapters that hang in a model."""
    embedded = invertible_site(model)
    names = {name for site in adapter_sites(model) for name in site.adapters}
    return names | (set() if embedded is None else set(embedded.couplings))


def _positions(settings: AdapterSettings) -> list[Position]:
    wanted: dict[Position, bool] = {"attention": settings.attention, "ffn": settings.ffn}
    return [position for position, is_wanted in wanted.items() if is_wanted]


def _backbone(model: nn.Module) -> nn.Module:
    backbone = getattr(model, "base_model", model)
    return backbone if isinstance(backbone, nn.Module) else model


def _like(module: nn.Module) -> torch.Tensor:
    return next(module.parameters())


def _site(
    model: nn.Module,
    layer: nn.Module,
    architecture: Architecture,
    position: Position,
    *,
    after_norm: bool,
) -> AdapterSite:
    """Return a layer's site, which is made where there is none yet."""
    norm = architecture.norm_after(layer, position)
    module = architecture.dense(layer, position) if not after_norm or norm is None else norm
    if not hasattr(module, ADAPTER):
        # The norm's own forward: its hooks are not run.
        site = AdapterSite(architecture.hidden_size(model), None if norm is None else norm.forward)
        module.add_module(ADAPTER, site.train(layer.training))
        if module is norm:
            module.register_forward_hook(_on_normalised)
        else:
            residual = _Residual()
            source = architecture.input_source(layer, position)
            source.register_forward_pre_hook(residual.take, with_kwargs=True)
            if norm is None:
                first = architecture.norm_before(layer, position)
                first.register_forward_pre_hook(residual.take_stream, with_kwargs=True)
            module.register_forward_hook(residual.give)
    site = getattr(module, ADAPTER)
    if not isinstance(site, AdapterSite):
        raise TypeError(f"expected an AdapterSite, found {type(site).__name__}")
    return site


# Any: torch types a hook's module, arguments and output as such.
def _on_normalised(module: Any, _: Any, output: Tensor) -> Tensor:
    result: Tensor = module.adapter(output, torch.zeros_like(output))
    return result


class _Residual:
    """Carries x from the module that is given it to the site that needs it."""

    def __init__(self) -> None:
        self.x: Tensor | None = None
        self.stream: Tensor | None = None

    # Any: as above.
    def take_stream(self, _: Any, arguments: Any, keywords: Any) -> None:
        self.stream = arguments[0] if arguments else keywords["hidden_states"]

    def take(self, _: Any, arguments: Any, keywords: Any) -> None:
        self.x = arguments[0] if arguments else keywords["hidden_states"]

    def give(self, module: Any, _: Any, output: Tensor) -> Tensor:
        if self.x is None:
            raise RuntimeError("an adapter's site ran before the module that its residual enters")
        x, self.x = self.x, None
        stream, self.stream = self.stream, None
        result: Tensor = module.adapter(output, x, stream)
        return result
