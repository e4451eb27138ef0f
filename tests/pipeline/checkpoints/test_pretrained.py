import shutil

import pytest
import torch

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.pretrained import (
    Checkpoint,
    find_adapter_folder,
    find_architecture,
    find_checkpoint,
)
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import holds_head, load_model
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.store.digests import sha256_file


@pytest.fixture
def checkpoint_of(tiny_classifier, tiny_checkpoint, tmp_path):
    """``checkpoint_of(model_type)``: a checkpoint with 20 position embeddings, and its model."""

    def checkpoint_of(model_type):
        shutil.copytree(tiny_checkpoint, tmp_path / "model")
        model = tiny_classifier(model_type, max_position_embeddings=20)
        model.save_pretrained(tmp_path / "model")
        return find_checkpoint(ModelConfig(model=str(tmp_path / "model"))), model

    return checkpoint_of


@pytest.mark.parametrize(
    ("model_type", "longest"),
    # The first two positions of these three are the padding's and what stands before it.
    [("bert", 20), ("distilbert", 20), ("roberta", 18), ("xlm-roberta", 18), ("mpnet", 18)],
)
def test_longest_text_is_what_the_position_embeddings_allow(
    checkpoint_of, token_batch, model_type, longest
):
    checkpoint, model = checkpoint_of(model_type)

    tokenizer = load_tokenizer(checkpoint, max_length=longest)

    assert tokenizer.model_max_length == longest
    assert torch.isfinite(model(**token_batch(model, (longest,))).logits).all()
    with pytest.raises(InputError, match=f"takes at most {longest} tokens"):
        load_tokenizer(checkpoint, max_length=longest + 1)


@pytest.fixture
def broken(tiny_checkpoint, tmp_path):
    """A copy of `tiny_checkpoint` that a test may break."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "broken")


def test_other_weights_than_expected_are_refused(tiny_checkpoint):
    with pytest.raises(InputError, match=f"sha256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        find_checkpoint(ModelConfig(model=str(tiny_checkpoint), sha256="0" * 64))


def test_expected_weights_are_accepted(tiny_checkpoint):
    digest = sha256_file(tiny_checkpoint / "model.safetensors")

    checkpoint = find_checkpoint(ModelConfig(model=str(tiny_checkpoint), sha256=digest))

    assert checkpoint.folder == tiny_checkpoint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_folder_without_weights_or_config_is_refused(broken, name):
    (broken / name).unlink()

    with pytest.raises(InputError, match="is not a readable model"):
        find_checkpoint(ModelConfig(model=str(broken)))


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_digest_depends_on_weights_and_tokenizer(broken, name):
    before = find_checkpoint(ModelConfig(model=str(broken))).digest
    with (broken / name).open("ab") as file:
        file.write(b" ")

    after = find_checkpoint(ModelConfig(model=str(broken))).digest

    assert after != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"not weights"),
        ("config.json", b'{"model_type": "no such architecture"}'),
    ],
)
def test_unreadable_model_is_refused(broken, name, content):
    (broken / name).write_bytes(content)
    checkpoint = find_checkpoint(ModelConfig(model=str(broken)))

    with pytest.raises(InputError, match="Cannot read the model"):
        load_model(checkpoint, OBJECTIVE, labels=("no", "yes"), seed=0)


def test_unreadable_tokenizer_is_refused(broken):
    (broken / "tokenizer.json").write_text("{}")
    checkpoint = find_checkpoint(ModelConfig(model=str(broken)))

    with pytest.raises(InputError, match="Cannot read the tokenizer"):
        load_tokenizer(checkpoint, max_length=16)


def test_labels_in_another_order_than_the_models_are_refused(tiny_student):
    checkpoint = find_checkpoint(ModelConfig(model=str(tiny_student.folder)))

    with pytest.raises(InputError, match=r"in the order \['negative', 'positive'\]"):
        load_model(checkpoint, OBJECTIVE, labels=("positive", "negative"), seed=0)


def test_run_that_was_not_made_yet_is_no_id_of_the_hub():
    with pytest.raises(InputError, match=r"runs/reviews\.finetune does not exist .*--until finetu"):
        find_adapter_folder("runs/reviews.finetune")


def test_unreachable_hub_is_told_with_the_reason():
    with pytest.raises(InputError, match=r"Cannot fetch the model 'nobody/nothing' .*OFFLINE"):
        find_checkpoint(ModelConfig(model="nobody/nothing"))


@pytest.mark.parametrize(
    ("labels", "held"), [(("no", "yes"), True), (("no", "maybe", "yes"), False)]
)
def test_head_of_another_shape_is_not_the_checkpoints(tiny_backbone, labels, held):
    model = load_model(tiny_backbone, OBJECTIVE, labels=labels)

    assert holds_head(tiny_backbone, model, OBJECTIVE.head(find_architecture(model))) is held


def test_head_that_was_not_saved_is_not_the_checkpoints(tiny_backbone, tiny_classifier, tmp_path):
    tiny_classifier("bert").base_model.save_pretrained(tmp_path)
    model = load_model(tiny_backbone, OBJECTIVE, labels=("no", "yes"))

    bare = Checkpoint(folder=tmp_path, digest="")
    assert not holds_head(bare, model, OBJECTIVE.head(find_architecture(model)))
