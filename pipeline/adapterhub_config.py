"""AdapterHub's configurations of bottleneck adapters, read into our settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.activations import ACT2FN

from models.bottleneck import BottleneckSettings
from models.site import AdapterSettings, Residual, Sees
from pipeline.errors import InputError

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
    "inv_adapter_reduction_factor": 2,
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


def settings_of(folder: Path, config: Mapping[str, Any], hidden_size: int) -> AdapterSettings:
    """Return what a configuration with every key means for a backbone of that hidden size."""
    unsupported = [
        f"{key} = {config[key]!r}"
        for key, expected in (
            ("cross_adapter", False),
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
    if config["inv_adapter"] not in (None, "nice"):
        # The library's own GLOW block fails at every input: it adds parts of different sizes.
        unsupported.append(f"inv_adapter = {config['inv_adapter']!r}")
    elif config["inv_adapter"] and not config["inv_adapter_reduction_factor"]:
        unsupported.append("inv_adapter without inv_adapter_reduction_factor")
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
    residuals: dict[bool | str, Residual] = {True: "output", False: "seen", "post_add": "sum"}
    sees: Sees = "output"
    if config["is_parallel"]:
        sees = "input"
    elif config["original_ln_before"] and not after_norm:
        sees = "normalised"
    return AdapterSettings(
        form=form,
        attention=config["mh_adapter"],
        ffn=config["output_adapter"],
        sees=sees,
        residual=residuals[config["residual_before_ln"]],
        after_norm=after_norm and not config["is_parallel"],
        without=tuple(config["leave_out"]),
        sizes={int(layer): size for layer, size in sizes.items()},
        invertible=config["inv_adapter_reduction_factor"] if config["inv_adapter"] else None,
    )


def _sizes_of(
    folder: Path, factor: float | Mapping[str, float], hidden_size: int
) -> dict[str, int]:
    """Return bottleneck sizes by layer, and the one of all others as ``default``."""
    factors = dict(factor) if isinstance(factor, Mapping) else {"default": factor}
    if "default" not in factors:
        raise InputError(f"{folder}: reduction_factor has no default: {factors}.")
    return {layer: max(1, int(hidden_size // each)) for layer, each in factors.items()}


def config_of(folder: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
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
        raise InputError(f"The configuration in {folder} has no {', no '.join(missing)}.")
    config: dict[str, Any] = _DEFAULTS | dict(given)
    if old_invertible := given.get("invertible_adapter"):  # before version 2
        config["inv_adapter"] = old_invertible["block_type"]
        config["inv_adapter_reduction_factor"] = old_invertible["reduction_factor"]
    if "version" not in meta:  # before version 2, gelu meant its tanh form
        old = {"gelu": "gelu_new", "gelu_orig": "gelu"}
        activation = str(config["non_linearity"])
        config["non_linearity"] = old.get(activation, activation)
    return config
