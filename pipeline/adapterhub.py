"""AdapterHub checkpoints: the folders that the ``adapters`` library reads and writes.

One folder an adapter: ``adapter_config.json`` and the tensors, ``pytorch_adapter.bin`` or
``adapter.safetensors``. What the library loads without a word (missing layers, tensors that it does
not know, an adapter of another architecture) is refused here. A ``.bin`` is unpickled as weights
only: nothing in it is executed. Format: https://docs.adapterhub.ml and what the library's version
1.3.0 writes.
"""

import json
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from models.adapters import AdapterSettings, add_adapter, add_fusion, site_of
from models.architectures import Architecture, Position
from models.bottleneck import BottleneckSettings
from models.composition import Fuse, FusionSettings, module_name
from pipeline.errors import InputError

ADAPTER_CONFIG = "adapter_config.json"
FUSION_CONFIG = "adapter_fusion_config.json"
_ADAPTER_FILES = ("adapter.safetensors", "pytorch_adapter.bin")
_HEAD_CONFIG = "head_config.json"
_HEAD_FILES = ("model_head.safetensors", "pytorch_model_head.bin")
_FUSION_FILES = ("model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin")

_SITES: dict[str, dict[Position, str]] = {
    "distilbert": {"attention": "attention_adapters", "ffn": "output_adapters"},
}
"""Where in a layer the library keeps its adapters, by ``model_type``."""
_USUAL_SITES: dict[Position, str] = {"attention": "attention.output", "ffn": "output"}

_HEADS = {
    "bert": ("bert.pooler.dense", "tanh", "classifier"),
    "roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "xlm-roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "distilbert": ("pre_classifier", "relu", "classifier"),
    "electra": ("classifier.dense", "gelu", "classifier.out_proj"),
    "deberta-v2": ("pooler.dense", "gelu", "classifier"),
}
"""By ``model_type``, what a stock classifier computes of the first token: a dense layer, an
activation, and the dense layer that gives the logits."""
_CLASSIFICATION = ("classification", "multilabel_classification")

_OLD_NAMES = {
    r"\.(attention|layer)_text_(task|lang)_adapters\.": ".adapters.",
    r"(^|\.)invertible_lang_adapters\.": r"\1invertible_adapters.",
}
"""Names that the library's first version gave its modules."""

_PRESETS: dict[str, dict[str, Any]] = {
    "pfeiffer": {
        "mh_adapter": False,
        "output_adapter": True,
        "non_linearity": "relu",
        "reduction_factor": 16,
        "original_ln_before": True,
    },
    "houlsby": {
        "mh_adapter": True,
        "output_adapter": True,
        "non_linearity": "swish",
        "reduction_factor": 16,
        "original_ln_before": False,
    },
    "parallel": {
        "mh_adapter": False,
        "output_adapter": True,
        "non_linearity": "relu",
        "reduction_factor": 2,
        "is_parallel": True,
        "scaling": 4.0,
    },
}
"""Configurations that old files name instead of giving them."""
_PRESETS |= {
    "seq_bn": _PRESETS["pfeiffer"],
    "double_seq_bn": _PRESETS["houlsby"],
    "par_bn": _PRESETS["parallel"],
}

_DEFAULTS = {
    "original_ln_before": False,
    "original_ln_after": True,
    "ln_before": False,
    "ln_after": False,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "inv_adapter": None,
    "cross_adapter": False,
    "leave_out": (),
    "phm_layer": False,
    "phm_dim": 4,
    "phm_rank": 1,
    "factorized_phm_W": True,
    "factorized_phm_rule": False,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "phm_bias": True,
}
"""What a key that a file leaves out means."""
_REQUIRED = ("mh_adapter", "output_adapter", "reduction_factor", "non_linearity")


@dataclass(frozen=True, kw_only=True, slots=True)
class HubAdapter:
    """An adapter as its folder tells it, before it meets a backbone."""

    name: str
    settings: AdapterSettings
    tensors: dict[str, Tensor]
    folder: Path


def read_adapter(folder: Path, model: PreTrainedModel) -> HubAdapter:
    """Return the adapter in a folder.

    Args:
        folder: What the library's ``save_adapter`` wrote.
        model: The backbone that it is for, with or without a head.

    Raises:
        InputError: when it is not a bottleneck adapter, is damaged, or belongs to another
            architecture or hidden size.
    """
    meta = _read_json(folder / ADAPTER_CONFIG)
    if "peft_type" in meta:
        raise InputError(
            f"{folder} is a checkpoint of PEFT ({meta['peft_type']}), not of AdapterHub: PEFT has "
            "no bottleneck adapters. Merge it into its model with PEFT, and give that model."
        )
    if "config" not in meta or "name" not in meta:
        raise InputError(
            f"{folder / ADAPTER_CONFIG} is not AdapterHub's: expected the keys config and name, "
            f"found {', '.join(sorted(meta)) or 'none'}."
        )
    _check_backbone(folder, meta, model)
    config = _config_of(folder, meta)
    return HubAdapter(
        name=str(meta["name"]),
        settings=_settings_of(folder, config, int(model.config.hidden_size)),
        tensors=_read_tensors(folder, _ADAPTER_FILES),
        folder=folder,
    )


def load_adapter(
    adapter: HubAdapter, model: PreTrainedModel, architecture: Architecture, *, name: str
) -> None:
    """Hang an adapter in a backbone, in place, under a name; it is not active yet.

    Raises:
        InputError: when tensors are missing, unknown, or of another shape; nothing is hung then.
    """
    found = _with_prefix(_renamed(adapter.tensors), model)
    expected = _expected_tensors(adapter.name, adapter.settings, model, architecture)
    if adapter.settings.form.norm_before:
        _drop_copies(found)
    _check_tensors(adapter.folder, found, expected)
    add_adapter(model.base_model, architecture, name, adapter.settings)
    with torch.no_grad():
        for key, place in expected.items():
            place.find(name).copy_(found[key])


def load_fusion(folder: Path, model: PreTrainedModel, architecture: Architecture) -> Fuse:
    """Give a backbone the AdapterFusion layers in a folder; return the composition.

    Args:
        folder: What the library's ``save_adapter_fusion`` wrote.
        model: It has the fused adapters already.
        architecture: Where its sites are.

    Raises:
        InputError: when it is damaged, or fuses adapters that the backbone does not have.
    """
    settings = read_fusion_settings(folder)
    meta = _read_json(folder / FUSION_CONFIG)
    _check_backbone(folder, meta, model)
    composition = Fuse(tuple(meta["adapter_names"]))
    found = _with_prefix(_renamed(_read_tensors(folder, _FUSION_FILES)), model)
    add_fusion(model.base_model, composition, settings)
    expected: dict[str, Tensor] = {}
    for number, position, place in _places(model, architecture):
        site = site_of(architecture.layers(model.base_model)[number], architecture, position)
        fusions = {} if site is None else dict(site.fusions)
        if module_name(composition) in fusions:
            prefix = f"{place}.adapter_fusion_layer.{meta['name']}"
            fusion = fusions[module_name(composition)]
            expected |= {f"{prefix}.{key}": p for key, p in fusion.named_parameters()}
    _check_tensors(folder, found, expected)
    with torch.no_grad():
        for key, parameter in expected.items():
            parameter.copy_(found[key])
    return composition


def read_fusion_settings(folder: Path) -> FusionSettings:
    """Return the settings of the AdapterFusion layers in a folder.

    Raises:
        InputError: when there are none, or they are not supported.
    """
    meta = _read_json(folder / FUSION_CONFIG)
    if not {"config", "name", "adapter_names"} <= meta.keys():
        raise InputError(f"{folder / FUSION_CONFIG} does not describe an AdapterFusion layer.")
    config = meta["config"]
    if config.get("temperature"):
        raise InputError(f"{folder}: an AdapterFusion with a temperature is not supported.")
    return FusionSettings(
        query=config.get("query", True),
        key=config.get("key", True),
        value=config.get("value", True),
        query_before_norm=config.get("query_before_ln", False),
        residual_before=config.get("residual_before", False),
        value_before_softmax=config.get("value_before_softmax", True),
    )


def has_head(folder: Path) -> bool:
    """Tell whether an adapter was saved with a head."""
    return (folder / _HEAD_CONFIG).is_file()


def read_labels(folder: Path) -> tuple[str, ...]:
    """Return the names of a saved head's labels, in class order."""
    meta = _read_json(folder / _HEAD_CONFIG)
    numbers = (meta.get("config") or meta).get("label2id") or {}
    return tuple(sorted(numbers, key=lambda name: int(numbers[name])))


def load_head(folder: Path, model: PreTrainedModel) -> None:
    """Set a stock model's head to the one that an adapter was saved with, in place.

    Args:
        folder: What the library's ``save_adapter`` wrote, of a static or a flexible head.
        model: A classifier of as many labels; for tagging, a token classifier.

    Raises:
        InputError: when the stock model's head computes something else, or tensors are missing,
            unknown or of another shape; nothing is set then.
    """
    meta = _read_json(folder / _HEAD_CONFIG)
    tensors = _read_tensors(folder, _HEAD_FILES)
    if meta.get("config"):
        names = _flexible_head(folder, meta, model)
        tensors = {names.get(name, name): tensor for name, tensor in tensors.items()}
    else:
        tensors = {
            name if _has(model, name) else f"{model.base_model_prefix}.{name}": tensor
            for name, tensor in tensors.items()
        }
    own = dict(model.named_parameters())
    expected = {name: own[name] for name in tensors if name in own}
    # A head's last layer is there whatever else a checkpoint leaves out.
    expected |= {
        name: p for name, p in own.items() if name.split(".")[0] in ("classifier", "score")
    }
    _check_tensors(folder, tensors, expected)
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(tensors[name])


def _flexible_head(folder: Path, meta: Mapping[str, Any], model: PreTrainedModel) -> dict[str, str]:
    """Return where the tensors of a head of the library's own go in a stock model."""
    config, prefix = meta["config"], f"heads.{meta['name']}"
    kind, layers = config.get("head_type"), config.get("layers")
    dense, activation, last = _HEADS.get(model.config.model_type, ("", "", "classifier"))
    if kind == "tagging" and layers == 1:
        places = {1: "classifier"}
    elif kind not in _CLASSIFICATION:
        raise InputError(
            f"{folder}: heads of the type {kind!r} are not supported; supported are "
            f"{', '.join((*_CLASSIFICATION, 'tagging'))}."
        )
    elif layers == 1 and config.get("use_pooler") and model.config.model_type == "bert":
        places = {1: last}
    elif layers == 2 and not config.get("use_pooler") and dense:
        own = config.get("activation_function")
        if own != activation:
            raise InputError(
                f"{folder}: this head's activation is {own!r}, and a stock "
                f"{model.config.model_type} classifier's is {activation!r}: they do not compute "
                "the same. Import the adapter without its head, and train a new one."
            )
        places = {1: dense, 4: last}
    else:
        raise InputError(
            f"{folder}: a head of {layers} layers (use_pooler = {config.get('use_pooler')}) has no "
            f"place in a stock {model.config.model_type} classifier."
        )
    return {
        f"{prefix}.{number}.{tensor}": f"{place}.{tensor}"
        for number, place in places.items()
        for tensor in ("weight", "bias")
    }


def _has(model: PreTrainedModel, name: str) -> bool:
    return any(name == own for own, _ in model.named_parameters())


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor of a checkpoint goes."""

    shape: tuple[int, ...]
    find: Callable[[str], Tensor]
    """The name of the adapter in the backbone -> its parameter there."""


def _expected_tensors(
    hub_name: str, settings: AdapterSettings, model: PreTrainedModel, architecture: Architecture
) -> dict[str, _Place]:
    """Return the tensors that a checkpoint of these settings holds, by the library's names."""
    # A backbone of the same shape without weights tells names and shapes.
    with torch.device("meta"):
        bare = type(model)(model.config)
        add_adapter(bare.base_model, architecture, "adapter", settings)
    expected: dict[str, _Place] = {}
    for number, position, place in _places(bare, architecture):
        site = site_of(architecture.layers(bare.base_model)[number], architecture, position)
        if site is None or "adapter" not in site.adapters:
            continue
        for own, parameter in site.adapters["adapter"].named_parameters():

            def find(
                name: str, number: int = number, position: Position = position, own: str = own
            ) -> Tensor:
                layer = architecture.layers(model.base_model)[number]
                there = site_of(layer, architecture, position)
                if there is None:
                    raise RuntimeError("the site is gone")
                return there.adapters[name].get_parameter(own)

            key = _hub_key(own, settings)
            whole = (
                f"{model.base_model_prefix}.shared_parameters.{hub_name}.phm_rule"
                if own == "rule"
                else f"{place}.adapters.{hub_name}.{key}"
            )
            expected[whole] = _Place(tuple(parameter.shape), find)
    return expected


def _hub_key(own: str, settings: AdapterSettings) -> str:
    """Return the library's name of a parameter of one adapter."""
    down = "adapter_down.1" if settings.form.norm_before else "adapter_down.0"
    renamed = re.sub(r"^down\.", f"{down}.", own)
    renamed = re.sub(r"^up\.", "adapter_up.", renamed)
    renamed = re.sub(r"^norm_", "adapter_norm_", renamed)
    if settings.form.kronecker_factors is not None:
        for plain, hub in (("left", "W_left"), ("right", "W_right"), ("bias", "b")):
            renamed = re.sub(rf"(adapter_(?:down\.\d|up))\.{plain}$", rf"\1.{hub}", renamed)
    return renamed


def _places(
    model: PreTrainedModel, architecture: Architecture
) -> Iterator[tuple[int, Position, str]]:
    """Yield (layer, half, the library's name of the module that holds its adapters)."""
    sites = _SITES.get(model.config.model_type, _USUAL_SITES)
    for number in range(len(architecture.layers(model.base_model))):
        for position, path in sites.items():
            prefix = f"{model.base_model_prefix}.{architecture.layer_list}"
            yield number, position, f"{prefix}.{number}.{path}"


def _settings_of(folder: Path, config: Mapping[str, Any], hidden_size: int) -> AdapterSettings:
    unsupported = [
        f"{key} = {config[key]!r}"
        for key, expected in (
            ("cross_adapter", False),
            ("inv_adapter", None),
            ("factorized_phm_W", True),
            ("factorized_phm_rule", False),
            ("shared_W_phm", False),
            ("shared_phm_rule", True),
            ("phm_bias", True),
        )
        if config[key] != expected and (config["phm_layer"] or "phm" not in key.lower())
    ]
    after_norm = not config["original_ln_after"]
    if after_norm and (not config["original_ln_before"] or config["residual_before_ln"]):
        unsupported.append(
            "original_ln_after = False without original_ln_before = True and "
            "residual_before_ln = False"
        )
    activation = str(config["non_linearity"]).lower()
    if activation != "leakyrelu" and activation not in ACT2FN:
        unsupported.append(f"non_linearity = {activation!r}")
    if unsupported:
        raise InputError(f"{folder}: this adapter has {', '.join(unsupported)}: not supported.")
    sizes = _sizes_of(folder, config["reduction_factor"], hidden_size)
    default = sizes.pop("default")
    form = BottleneckSettings(
        bottleneck_size=default,
        activation=activation,
        scaling=config["scaling"],
        norm_before=config["ln_before"],
        norm_after=config["ln_after"],
        residual_before_norm=config["adapter_residual_before_ln"],
        gate=config["use_gating"],
        kronecker_factors=config["phm_dim"] if config["phm_layer"] else None,
        kronecker_rank=config["phm_rank"],
    )
    seen = "normalised" if config["original_ln_before"] and not after_norm else "output"
    residuals = {True: "output", False: "seen", "post_add": "sum"}
    return AdapterSettings(
        form=form,
        attention=config["mh_adapter"],
        ffn=config["output_adapter"],
        sees="input" if config["is_parallel"] else seen,  # type: ignore[arg-type]
        residual=residuals[config["residual_before_ln"]],  # type: ignore[arg-type]
        after_norm=after_norm and not config["is_parallel"],
        without=tuple(config["leave_out"]),
        sizes={int(layer): size for layer, size in sizes.items()},
    )


def _sizes_of(
    folder: Path, factor: float | Mapping[str, float], hidden_size: int
) -> dict[str, int]:
    """Return bottleneck sizes by layer, and the one of all others as ``default``."""
    factors = dict(factor) if isinstance(factor, Mapping) else {"default": factor}
    if "default" not in factors:
        raise InputError(f"{folder}: reduction_factor has no default: {factors}.")
    return {layer: max(1, int(hidden_size // each)) for layer, each in factors.items()}


def _config_of(folder: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bottleneck configuration with every key that matters."""
    given = meta["config"]
    if isinstance(given, str):
        if given not in _PRESETS:
            raise InputError(
                f"{folder}: the configuration {given!r} is not known; known are "
                f"{', '.join(sorted(_PRESETS))}."
            )
        given = _PRESETS[given]
    architecture = given.get("architecture")
    if architecture is not None:
        raise InputError(
            f"{folder} holds {architecture!r}, which is not a bottleneck adapter. Bottleneck "
            "adapters alone are imported: seq_bn, double_seq_bn, par_bn and their kin."
        )
    missing = [key for key in _REQUIRED if key not in given]
    if missing:
        raise InputError(f"{folder / ADAPTER_CONFIG} has no {', no '.join(missing)}.")
    config: dict[str, Any] = _DEFAULTS | dict(given)
    if "version" not in meta:  # before version 2, gelu meant its tanh form
        old = {"gelu": "gelu_new", "gelu_orig": "gelu"}
        activation = str(config["non_linearity"])
        config["non_linearity"] = old.get(activation, activation)
    return config


def _check_backbone(folder: Path, meta: Mapping[str, Any], model: PreTrainedModel) -> None:
    own = {"model_type": model.config.model_type, "hidden_size": model.config.hidden_size}
    wrong = [
        f"{key} {meta[key]!r}, the backbone's is {value!r}"
        for key, value in own.items()
        if meta.get(key) not in (None, value)
    ]
    if wrong:
        raise InputError(
            f"{folder} belongs to another backbone: it says {'; '.join(wrong)}. Give the backbone "
            f"that it was trained in ({meta.get('model_name', 'its config does not say which')})."
        )


def _check_tensors(
    folder: Path, found: Mapping[str, Tensor], expected: Mapping[str, _Place | Tensor]
) -> None:
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unknown {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(place.shape)}"
        for name, place in expected.items()
        if name in found and tuple(found[name].shape) != tuple(place.shape)
    ]
    problems += [
        f"{name} has values that are not finite"
        for name, tensor in found.items()
        if not tensor.isfinite().all()
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError(
            f"The tensors in {folder} are not those of this adapter on this backbone: "
            f"{'; '.join(problems[:5])}{more}. Save the adapter again, or check the backbone."
        )


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in _OLD_NAMES.items():
            name = re.sub(old, new, name)
        renamed[name] = tensor
    return renamed


def _with_prefix(tensors: Mapping[str, Tensor], model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the tensors under the names that a model with a head gives them."""
    prefix = f"{model.base_model_prefix}."
    return {
        name if name.startswith(prefix) else f"{prefix}{name}": tensor
        for name, tensor in tensors.items()
    }


def _drop_copies(tensors: dict[str, Tensor]) -> None:
    """Remove the second copy that the library writes of an adapter's first LayerNorm."""
    for name in [name for name in tensors if ".adapter_norm_before." in name]:
        copy = name.replace(".adapter_norm_before.", ".adapter_down.0.")
        if copy in tensors and torch.equal(tensors[copy], tensors[name]):
            del tensors[copy]


def _read_tensors(folder: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} has no tensors: expected {' or '.join(names)}.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, and what it holds would be executed: refused. Get "
            "the adapter from a source that you trust, as safetensors."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: it is damaged or cut off "
            f"({str(error).splitlines()[0]}). Copy it again."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"{path} does not hold named tensors.")
    return tensors


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            f"{path.parent} is not an AdapterHub checkpoint: it has no {path.name}. Give the "
            "folder that the adapters library wrote."
        )
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object.")
    return content
