import json
import os

import pytest
import torch
from support.adapterhub_folders import SEQ_BN, load, tensors_of, write

from models.adapters.hooks import adapter_names
from pipeline.errors import InputError


class _Executes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _missing_layer(folder):
    write(folder, tensors=tensors_of(SEQ_BN, layers=(0,)))


def _extra_tensor(folder):
    name = "bert.encoder.layer.0.output.adapters.task.mystery.weight"
    write(folder, tensors=tensors_of(SEQ_BN) | {name: torch.ones(3)})


def _not_finite(folder):
    tensors = tensors_of(SEQ_BN)
    tensors["bert.encoder.layer.0.output.adapters.task.adapter_up.bias"][3] = float("nan")
    write(folder, tensors=tensors)


def _truncated(folder):
    path = write(folder) / "pytorch_adapter.bin"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def _peft(folder):
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))


def _no_json(folder):
    write(folder)
    (folder / "adapter_config.json").write_text("{")


DAMAGED = {
    "missing layer": (_missing_layer, r"missing bert\.encoder\.layer\.1\.output"),
    "extra tensor": (_extra_tensor, r"unknown .*mystery\.weight"),
    "not finite": (_not_finite, "adapter_up.bias has values that are not finite"),
    "truncated": (_truncated, "damaged or cut off"),
    "PEFT": (_peft, r"checkpoint of PEFT \(LORA\)"),
    "no JSON": (_no_json, "is not JSON"),
    "hidden size": (lambda f: write(f, hidden_size=48), "hidden_size 48, the backbone's is 32"),
    "model type": (lambda f: write(f, model_type="roberta"), "model_type 'roberta'"),
    "LoRA": (
        lambda f: write(f, {"architecture": "lora", "r": 8}, {}),
        "holds 'lora', which is not",
    ),
    "unknown name": (lambda f: write(f, "unheard_of", {}), "'unheard_of' is not known"),
    "no factor": (lambda f: write(f, {"mh_adapter": True}, {}), "has no output_adapter"),
    "GLOW": (lambda f: write(f, SEQ_BN | {"inv_adapter": "glow"}), "inv_adapter = 'glow'"),
    "no invertible factor": (
        lambda f: write(f, SEQ_BN | {"inv_adapter": "nice", "inv_adapter_reduction_factor": None}),
        "without inv_adapter_reduction_factor",
    ),
    "no invertible tensors": (
        lambda f: write(f, SEQ_BN | {"inv_adapter": "nice"}),
        r"missing bert\.invertible_adapters\.task\.F\.0",
    ),
    "activation": (lambda f: write(f, SEQ_BN | {"non_linearity": "x"}), "non_linearity = 'x'"),
    "no folder": (lambda _: None, "not an AdapterHub checkpoint"),
    "shape": (
        lambda f: write(f, SEQ_BN, tensors_of(SEQ_BN | {"reduction_factor": 4})),
        r"is \(8, 32\), expected \(4, 32\)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_or_foreign_checkpoint_is_refused_and_nothing_is_hung(
    tiny_classifier, tmp_path, damage
):
    make, message = DAMAGED[damage]
    make(tmp_path / "adapter")
    model = tiny_classifier("bert")

    with pytest.raises(InputError, match=message):
        load(tmp_path / "adapter", model)

    assert adapter_names(model) == set()


def test_what_a_pickle_would_execute_is_refused_and_not_executed(tiny_classifier, tmp_path):
    mark = tmp_path / "was-executed"
    folder = write(tmp_path / "adapter")
    torch.save(tensors_of(SEQ_BN) | {"payload": _Executes(mark)}, folder / "pytorch_adapter.bin")

    with pytest.raises(InputError, match="would be executed: refused"):
        load(folder, tiny_classifier("bert"))

    assert not mark.exists()
