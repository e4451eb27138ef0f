import json

import numpy as np
import peft
import pytest
from transformers import AutoModelForSequenceClassification

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import AbsorbConfig
from pipeline.errors import InputError
from pipeline.standalone.absorb import absorb_as_lora
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode


@pytest.fixture(scope="module")
def texts(tiny_data):
    return read_split(tiny_data.folder, "train").texts


@pytest.fixture(scope="module")
def lora(tiny_teacher, texts, tmp_path_factory):
    """``lora(rank)``: the folder of the tiny teacher, absorbed, and the facts of it."""
    made = {}

    def make(rank):
        if rank not in made:
            out = tmp_path_factory.mktemp("lora") / "student"
            config = AbsorbConfig(batch_size=8)
            made[rank] = out, absorb_as_lora(tiny_teacher.folder, texts, out, config, rank=rank)
        return made[rank]

    return make


@pytest.fixture(scope="module")
def logits_of(tiny_data, tiny_backbone):
    tokenizer = load_tokenizer(tiny_backbone, max_length=16)
    examples = encode(tokenizer, read_split(tiny_data.folder, "validation").texts, max_length=16)
    return lambda model: compute_outputs(model.eval(), OBJECTIVE, tokenizer, examples)


def with_peft(folder, backbone):
    base = AutoModelForSequenceClassification.from_pretrained(backbone.folder, num_labels=2)
    return peft.PeftModel.from_pretrained(base, str(folder))


def test_peft_reads_it_and_answers_like_the_teacher(lora, tiny_backbone, tiny_teacher, logits_of):
    folder, facts = lora(8)
    wanted = logits_of(load_teacher(tiny_backbone, tiny_teacher.folder))
    plain = with_peft(folder, tiny_backbone)
    found = logits_of(plain)

    with plain.disable_adapter():
        without = logits_of(plain)

    assert np.abs(found - wanted).mean() < 0.2 * np.abs(without - wanted).mean()
    assert facts.method == "ridge"


def test_merged_it_is_a_stock_model_with_the_same_answers(lora, tiny_backbone, logits_of):
    folder, _ = lora(8)
    model = with_peft(folder, tiny_backbone)
    expected = logits_of(model)

    merged = model.merge_and_unload()

    np.testing.assert_allclose(logits_of(merged), expected, atol=1e-5)


def test_its_files_say_what_it_is(lora, tiny_backbone):
    folder, _ = lora(8)

    config = json.loads((folder / "adapter_config.json").read_text())

    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 8, 8)
    assert config["base_model_name_or_path"] == tiny_backbone.reference
    assert set(config["modules_to_save"]) == {"pooler", "classifier"}
    assert (folder / "tokenizer.json").is_file()
    assert not list(folder.rglob("*.bin"))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_higher_rank_explains_more(lora):
    low, high = ([fit.r2 for fit in lora(rank)[1].sites] for rank in (1, 8))

    assert np.mean(high) > np.mean(low)


def test_rank_of_the_whole_matrix_is_refused(tiny_teacher, texts, tmp_path):
    with pytest.raises(InputError, match="expected less than the 32 units"):
        absorb_as_lora(tiny_teacher.folder, texts, tmp_path / "out", AbsorbConfig(), rank=32)

    assert list(tmp_path.iterdir()) == []
