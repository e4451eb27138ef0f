"""AdapterHub checkpoints of a tiny BERT, written as the library writes them."""

import json

import torch
from safetensors.torch import save_file

from models.adapters.hooks import set_active
from models.architectures.table import architecture_of
from pipeline.checkpoints.adapterhub.reading import load_adapter, read_adapter

SEQ_BN = {
    "mh_adapter": False,
    "output_adapter": True,
    "original_ln_before": True,
    "non_linearity": "relu",
    "reduction_factor": 8,
}
DOUBLE_SEQ_BN = SEQ_BN | {"mh_adapter": True, "original_ln_before": False, "non_linearity": "swish"}
PAR_BN = SEQ_BN | {"original_ln_before": False, "is_parallel": True, "scaling": 4.0}
ADAPTER_PLUS = SEQ_BN | {
    "original_ln_after": False,
    "residual_before_ln": False,
    "non_linearity": "gelu",
    "scaling": "channel",
}


def random(*shape, seed):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tensors_of(config, *, name="task", base="bert", infix="adapters", layers=(0, 1)):
    """Return tensors by the names that the library gives them, for D = 32."""
    tensors = {}
    places = ["output"] + (["attention.output"] if config["mh_adapter"] else [])
    size = 32 // config["reduction_factor"]
    for layer in layers:
        for place in places:
            prefix = f"{base}.encoder.layer.{layer}.{place}.{infix}.{name}"
            tensors |= {
                f"{prefix}.adapter_down.0.weight": random(size, 32, seed=layer),
                f"{prefix}.adapter_down.0.bias": random(size, seed=layer + 10),
                f"{prefix}.adapter_up.weight": random(32, size, seed=layer + 20),
                f"{prefix}.adapter_up.bias": random(32, seed=layer + 30),
            }
            if config.get("scaling") == "channel":
                tensors[f"{prefix}.scaling"] = 1 + random(32, seed=layer + 40)
    return tensors


def write(folder, config=SEQ_BN, tensors=None, *, name="task", safe=False, **meta):
    """Write a checkpoint as the library does."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {
        "config": config,
        "hidden_size": 32,
        "model_class": "BertAdapterModel",
        "model_name": "somewhere/bert",
        "model_type": "bert",
        "name": name,
        "version": "adapters.1.3.0",
    }
    plain |= meta
    kept = {key: value for key, value in plain.items() if value is not None}
    (folder / "adapter_config.json").write_text(json.dumps(kept))
    tensors = tensors_of(config, name=name) if tensors is None else tensors
    if safe:
        save_file(tensors, folder / "adapter.safetensors")
    else:
        torch.save(tensors, folder / "pytorch_adapter.bin")
    return folder


def load(folder, model, name="task"):
    architecture = architecture_of(model.config.model_type)
    load_adapter(read_adapter(folder, model), model, architecture, name=name)
    set_active(model, name)
    return model
