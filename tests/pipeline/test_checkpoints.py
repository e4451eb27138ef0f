import shutil

import pytest
import torch

from pipeline.checkpoints import find_checkpoint, load_tokenizer
from pipeline.config import ModelConfig
from pipeline.errors import InputError


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
