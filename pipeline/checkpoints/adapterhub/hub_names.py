"""Names of an adapter's parameters in the ``adapters`` library, and their places in ours."""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from transformers import PreTrainedModel

from models.adapters.hooks import site_of
from models.adapters.invertible import invertible_site
from models.adapters.site import AdapterSite
from models.architectures.architecture import Architecture, Position

_SITES: dict[str, dict[Position, str]] = {
    "albert": {"attention": "attention.attention_adapters", "ffn": "output_adapters"},
    "distilbert": {"attention": "attention_adapters", "ffn": "output_adapters"},
    "gpt2": {"attention": "attention_adapters", "ffn": "output_adapters"},
    "llama": {"attention": "attention_adapters", "ffn": "output_adapters"},
}
"""Where in a layer the library keeps its adapters, by ``model_type``."""
_USUAL_SITES: dict[Position, str] = {"attention": "attention.output", "ffn": "output"}

_OLD_NAMES = {
    r"\.(attention|layer)_text_(task|lang)_adapters\.": ".adapters.",
    r"(^|\.)invertible_lang_adapters\.": r"\1invertible_adapters.",
}
"""Names that the library's first version gave its modules."""
_COUPLINGS = {"first.down": "F.0", "first.up": "F.2", "second.down": "G.0", "second.up": "G.2"}
"""Parts of an invertible adapter, in ours and in the library."""


def adapter_parameters(
    model: PreTrainedModel, architecture: Architecture, name: str, *, hub_name: str
) -> dict[str, nn.Parameter]:
    """Return the parameters of one of a model's adapters by the library's names.

    Args:
        model: The adapter hangs in its backbone.
        architecture: Where the sites are.
        name: The adapter's name here.
        hub_name: Its name there.
    """
    base = model.base_model_prefix
    named: dict[str, nn.Parameter] = {}
    for place, site in _places(model, architecture):
        if name not in site.adapters:
            continue
        for own, parameter in site.adapters[name].named_parameters():
            key = f"{place}.adapters.{hub_name}.{_hub_key(own, site, name)}"
            if own == "rule":
                key = f"{base}.shared_parameters.{hub_name}.phm_rule"
            named[key] = parameter
    embedded = invertible_site(model)
    if embedded is not None and name in embedded.couplings:
        for own, parameter in embedded.couplings[name].named_parameters():
            part, _, kind = own.rpartition(".")
            named[f"{base}.invertible_adapters.{hub_name}.{_COUPLINGS[part]}.{kind}"] = parameter
    return named


def fusion_parameters(
    model: PreTrainedModel, architecture: Architecture, name: str, *, hub_name: str
) -> dict[str, nn.Parameter]:
    """Return the parameters of one of a model's AdapterFusions by the library's names."""
    return {
        f"{place}.adapter_fusion_layer.{hub_name}.{own}": parameter
        for place, site in _places(model, architecture)
        if name in site.fusions
        for own, parameter in site.fusions[name].named_parameters()
    }


def with_present_names(tensors: Mapping[str, Tensor], model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a checkpoint's tensors under the names that the library writes now.

    Its first version, and models without a head, have other names.
    """
    prefix = f"{model.base_model_prefix}."
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in _OLD_NAMES.items():
            name = re.sub(old, new, name)
        renamed[name if name.startswith(prefix) else f"{prefix}{name}"] = tensor
    return renamed


def copies_of_norms(names: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the second names under which the library writes an adapter's first LayerNorm."""
    before = ".adapter_norm_before."
    return {name.replace(before, ".adapter_down.0."): name for name in names if before in name}


def _hub_key(own: str, site: AdapterSite, name: str) -> str:
    """Return the library's name of a parameter of one adapter."""
    form = site.settings[name].form
    down = "adapter_down.1" if form.norm_before else "adapter_down.0"
    renamed = re.sub(r"^down\.", f"{down}.", own)
    renamed = re.sub(r"^up\.", "adapter_up.", renamed)
    renamed = re.sub(r"^norm_", "adapter_norm_", renamed)
    if form.kronecker_factors is not None:
        for plain, hub in (("left", "W_left"), ("right", "W_right"), ("bias", "b")):
            renamed = re.sub(rf"(adapter_(?:down\.\d|up))\.{plain}$", rf"\1.{hub}", renamed)
    return renamed


def _places(
    model: PreTrainedModel, architecture: Architecture
) -> Iterator[tuple[str, AdapterSite]]:
    """Yield the sites of a model, each with the library's name of the module that is there."""
    sites = _SITES.get(model.config.model_type, _USUAL_SITES)
    prefix = f"{model.base_model_prefix}.{architecture.layer_list}"
    for number, layer in enumerate(architecture.layers(model.base_model)):
        for position, path in sites.items():
            site = site_of(layer, architecture, position)
            if site is not None:
                yield f"{prefix}.{number}.{path}", site
