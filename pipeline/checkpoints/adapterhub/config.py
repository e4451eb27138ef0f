"""AdapterHub's configurations of bottleneck adapters, read into our settings and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers.activations import ACT2FN

from models.adapters.bottleneck import BottleneckSettings
from models.adapters.site import AdapterSettings, Residual, Sees
from pipeline.checkpoints.adapterhub.schema import BOTTLENECK_KEYS
from pipeline.errors import InputError
from pipeline.store.json_files import first_problem

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
    "dropout": 0.0,
}
"""Values of keys that a file leaves out."""
_REQUIRED = ("mh_adapter", "output_adapter", "reduction_factor", "non_linearity")


def hub_settings(folder: Path, config: Mapping[str, Any], hidden_size: int) -> AdapterSettings:
    """Return what a configuration with every key means for a backbone of that hidden size."""
    after_norm = not config["original_ln_after"]
    if unsupported := _unsupported(config):
        raise InputError(f"{folder}: this adapter has {', '.join(unsupported)}. Not supported.")
    sizes = _sizes_of(folder, config["reduction_factor"], hidden_size)
    form = _form_of(config, sizes.pop("default"))
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
        after_norm=after_norm,
        without=tuple(config["leave_out"]),
        sizes={int(layer): size for layer, size in sizes.items()},
        invertible=config["inv_adapter_reduction_factor"] if config["inv_adapter"] else None,
    )


def _unsupported(config: Mapping[str, Any]) -> list[str]:
    """Return the settings of a configuration that no adapter here can have."""
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
    if not config["original_ln_after"] and (
        not config["original_ln_before"] or config["residual_before_ln"] or config["is_parallel"]
    ):
        unsupported.append(
            "original_ln_after = False without original_ln_before = True, "
            "residual_before_ln = False and is_parallel = False"
        )
    activation = str(config["non_linearity"]).lower()
    if activation != "leakyrelu" and activation not in ACT2FN:
        unsupported.append(f"non_linearity = {activation!r}")
    if config["inv_adapter"] not in (None, "nice"):
        # The library's own GLOW block fails at every input: it adds parts of different sizes.
        unsupported.append(f"inv_adapter = {config['inv_adapter']!r}")
    elif config["inv_adapter"] and not config["inv_adapter_reduction_factor"]:
        unsupported.append("inv_adapter without inv_adapter_reduction_factor")
    return unsupported


def _form_of(config: Mapping[str, Any], size: int) -> BottleneckSettings:
    return BottleneckSettings(
        bottleneck_size=size,
        activation=str(config["non_linearity"]).lower(),
        scaling=config["scaling"],
        norm_before=config["ln_before"],
        norm_after=config["ln_after"],
        # A parallel adapter's LayerNorm never sees the residual.
        residual_before_norm=config["adapter_residual_before_ln"] and not config["is_parallel"],
        gate=config["use_gating"],
        kronecker_factors=config["phm_dim"] if config["phm_layer"] else None,
        kronecker_rank=config["phm_rank"],
        dropout=config["dropout"],
    )


def _sizes_of(
    folder: Path, factor: float | Mapping[str, float], hidden_size: int
) -> dict[str, int]:
    """Return bottleneck sizes by layer, and the one of all others as ``default``."""
    factors = dict(factor) if isinstance(factor, Mapping) else {"default": factor}
    if "default" not in factors:
        raise InputError(f"{folder}: reduction_factor has no default, found {factors}.")
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
            f"{folder} holds {architecture!r}, which is not a bottleneck adapter. Only bottleneck "
            "adapters are imported, such as seq_bn, double_seq_bn and par_bn."
        )
    missing = [key for key in _REQUIRED if key not in given]
    if missing:
        raise InputError(f"The configuration in {folder} has no {', no '.join(missing)}.")
    try:
        config: dict[str, Any] = _DEFAULTS | dict(BOTTLENECK_KEYS.validate_python(given))
    except ValidationError as error:
        raise InputError(
            f"The configuration in {folder} has a value that is not expected: "
            f"{first_problem(error)}. Save the adapter again."
        ) from error
    if old_invertible := config.get("invertible_adapter"):  # before version 2
        config["inv_adapter"] = old_invertible["block_type"]
        config["inv_adapter_reduction_factor"] = old_invertible["reduction_factor"]
    if "version" not in meta:  # before version 2, gelu meant its tanh form
        old = {"gelu": "gelu_new", "gelu_orig": "gelu"}
        activation = str(config["non_linearity"])
        config["non_linearity"] = old.get(activation, activation)
    return config


_AT_START = {
    "factorized_phm_W": True,
    "factorized_phm_rule": False,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "init_weights": "bert",
    "init_weights_seed": None,
    "learn_phm": True,
    "phm_bias": True,
    "phm_c_init": "normal",
    "phm_init_range": 0.0001,
    "shared_W_phm": False,
    "shared_phm_rule": True,
    "cross_adapter": False,
    "stochastic_depth": 0.0,
}
"""Keys whose value shapes only how an adapter starts or trains, or has one value here."""


def hub_config(name: str, settings: AdapterSettings, hidden_size: int) -> dict[str, Any]:
    """Return the library's configuration, with every key that it writes.

    Raises:
        InputError: when the library has no configuration that computes the same.
    """
    form, parallel = settings.form, settings.sees in ("input", "stream")
    before_norm = settings.sees == "normalised" or settings.after_norm
    residuals: dict[Residual, bool | str] = {"output": True, "sum": "post_add", "seen": False}
    residual = residuals["output" if parallel else settings.residual]
    if (settings.after_norm and residual is not False) or (
        residual == "post_add" and not before_norm
    ):
        raise InputError(
            f"AdapterHub's format has no adapter like {name!r}, which sees the {settings.sees} "
            f"with the {settings.residual} as its residual"
            f"{', behind the LayerNorm' if settings.after_norm else ''}."
        )
    factors = {str(layer): _factor(size, hidden_size) for layer, size in settings.sizes.items()}
    default = _factor(form.bottleneck_size, hidden_size)
    return {
        **_AT_START,
        "adapter_residual_before_ln": form.residual_before_norm,
        "dropout": form.dropout,
        "inv_adapter": None if settings.invertible is None else "nice",
        "inv_adapter_reduction_factor": settings.invertible,
        "is_parallel": parallel,
        "leave_out": list(settings.without),
        "ln_after": form.norm_after,
        "ln_before": form.norm_before,
        "mh_adapter": settings.attention,
        "non_linearity": form.activation,
        "original_ln_after": not settings.after_norm,
        "original_ln_before": before_norm,
        "output_adapter": settings.ffn,
        "phm_dim": form.kronecker_factors or 4,
        "phm_layer": form.kronecker_factors is not None,
        "phm_rank": form.kronecker_rank,
        "reduction_factor": {**factors, "default": default} if factors else default,
        "residual_before_ln": residual,
        "scaling": form.scaling,
        "use_gating": form.gate,
    }


def _factor(size: int, hidden_size: int) -> int | float:
    """Return a reduction factor that gives a bottleneck of that size."""
    # The library rounds hidden_size // factor down: half a unit keeps it clear of the edge.
    return hidden_size / (size + 0.5) if hidden_size % size else hidden_size // size
