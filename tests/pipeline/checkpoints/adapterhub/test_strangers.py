"""Files that hold more than they are named for, as ``adapters`` 1.3.0 writes them.

It saves every tensor whose name begins with the wanted one: ``sst`` takes ``sst2`` along.
"""

import json
import logging
import random as chance

import pytest
import torch
from support.adapterhub_folders import SEQ_BN, load, random, tensors_of, write

from models.adapters.composition import Fuse
from models.adapters.hooks import adapter_names
from models.architectures.table import architecture_of
from pipeline.checkpoints.adapterhub.head import load_head
from pipeline.checkpoints.adapterhub.reading import load_fusion
from pipeline.errors import InputError

OTHERS = ("sst2", "sst_b", "a", "sst,other")


def heads(name, *, labels=3, seed=0):
    return {
        f"heads.{name}.1.weight": random(32, 32, seed=seed),
        f"heads.{name}.1.bias": random(32, seed=seed + 1),
        f"heads.{name}.4.weight": random(labels, 32, seed=seed + 2),
        f"heads.{name}.4.bias": random(labels, seed=seed + 3),
    }


def fusions(name, *, seed=0):
    found = {}
    for layer in (0, 1):
        place = f"bert.encoder.layer.{layer}.output.adapter_fusion_layer.{name}"
        for part in ("query", "key"):
            found[f"{place}.{part}.weight"] = random(32, 32, seed=seed + layer)
            found[f"{place}.{part}.bias"] = random(32, seed=seed + layer)
        found[f"{place}.value.weight"] = random(32, 32, seed=seed + layer + 2)
    return found


def write_head(folder, tensors):
    folder.mkdir()
    config = {
        "head_type": "classification",
        "layers": 2,
        "activation_function": "tanh",
        "label2id": {"a": 0, "b": 1, "c": 2},
    }
    (folder / "head_config.json").write_text(json.dumps({"name": "sst", "config": config}))
    torch.save(tensors, folder / "pytorch_model_head.bin")
    return folder


def write_fusion(folder, tensors, names=("a", "b")):
    folder.mkdir()
    meta = {"adapter_names": list(names), "config": {}, "name": ",".join(names)}
    meta |= {"hidden_size": 32, "model_type": "bert"}
    (folder / "adapter_fusion_config.json").write_text(json.dumps(meta))
    torch.save(tensors, folder / "pytorch_model_adapter_fusion.bin")
    return folder


def only_warning(caplog):
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    return record.getMessage()


def test_head_file_with_another_head_gives_the_wanted_one(tiny_classifier, tmp_path, caplog):
    tensors = heads("sst") | heads("sst2", labels=5, seed=9)
    model = tiny_classifier("bert")

    load_head(write_head(tmp_path / "head", tensors), model)

    assert torch.equal(model.classifier.weight, tensors["heads.sst.4.weight"])
    assert torch.equal(model.bert.pooler.dense.weight, tensors["heads.sst.1.weight"])
    assert "ignored the tensors of sst2, which" in only_warning(caplog)


def test_fusion_file_with_a_larger_fusion_gives_the_wanted_one(tiny_classifier, tmp_path, caplog):
    model = tiny_classifier("bert")
    for name in ("a", "b"):
        load(write(tmp_path / name, name=name), model, name)
    tensors = fusions("a,b") | fusions("a,b,c", seed=9)

    composition = load_fusion(
        write_fusion(tmp_path / "fusion", tensors), model, architecture_of("bert")
    )

    assert composition == Fuse(("a", "b"))
    site = model.bert.encoder.layer[1].output.dense.adapter
    place = "bert.encoder.layer.1.output.adapter_fusion_layer.a,b"
    assert torch.equal(site.fusions["a,b"].value.weight, tensors[f"{place}.value.weight"])
    assert "ignored the tensors of a,b,c, which" in only_warning(caplog)


def test_adapter_file_with_other_adapters_gives_the_wanted_one(tiny_classifier, tmp_path, caplog):
    strangers = tensors_of(SEQ_BN | {"mh_adapter": True}, name="sst2") | tensors_of(
        SEQ_BN, name="other"
    )
    tensors = tensors_of(SEQ_BN, name="sst") | strangers
    model = tiny_classifier("bert")

    load(write(tmp_path / "sst", tensors=tensors, name="sst"), model, "sst")

    adapter = model.bert.encoder.layer[1].output.dense.adapter.adapters["sst"]
    place = "bert.encoder.layer.1.output.adapters.sst"
    assert torch.equal(adapter.up.weight, tensors[f"{place}.adapter_up.weight"])
    assert "ignored the tensors of other and sst2, which" in only_warning(caplog)


def test_file_of_strangers_alone_is_refused(tiny_classifier, tmp_path):
    folder = write(tmp_path / "sst", tensors=tensors_of(SEQ_BN, name="sst2"), name="sst")
    model = tiny_classifier("bert")

    with pytest.raises(InputError, match=r"missing bert\.encoder\.layer\.0\.output\.adapters\.sst"):
        load(folder, model, "sst")

    assert adapter_names(model) == set()


UNKNOWN = (
    "bert.encoder.layer.0.output.adapters.sst2.mystery.weight",
    "bert.encoder.layer.0.output.adapters.sst2",
    "bert.encoder.layer.0.output.lora.sst2.adapter_up.weight",
    "bert.encoder.layer.0.output.dense.weight",
    "bert.encoder.layer.0.output.adapter_fusion_layer.a,b.query.weight",
    "heads.sst2.4.weight",
)


@pytest.mark.parametrize("seed", range(40))
def test_strangers_by_name_are_left_aside_and_all_others_refused(tiny_classifier, tmp_path, seed):
    generator = chance.Random(seed)
    others = generator.sample(OTHERS, generator.randrange(len(OTHERS) + 1))
    unknown = generator.sample(UNKNOWN, generator.choice((0, 0, 1, 2)))
    tensors = tensors_of(SEQ_BN, name="sst")
    for other in others:
        tensors |= tensors_of(SEQ_BN | {"reduction_factor": 4}, name=other)
    items = list((tensors | {name: torch.ones(2) for name in unknown}).items())
    generator.shuffle(items)
    folder = write(tmp_path / "sst", tensors=dict(items), name="sst")
    model = tiny_classifier("bert")

    if unknown:
        with pytest.raises(InputError, match="unknown"):
            load(folder, model, "sst")
        assert adapter_names(model) == set()
    else:
        load(folder, model, "sst")
        assert adapter_names(model) == {"sst"}
