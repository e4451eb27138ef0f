import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer

from pipeline.checkpoints.pretrained import Checkpoint, find_checkpoint
from pipeline.checkpoints.tokenizers import load_tokenizer, save_tokenizer
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.inference.tokens import load_encoder
from pipeline.training.encoding import encode


@pytest.fixture
def checkpoint_of(tiny_classifier, tiny_checkpoint, tmp_path):
    """``checkpoint_of(model_type)``: a checkpoint with 20 position embeddings, and its model."""

    def checkpoint_of(model_type):
        shutil.copytree(tiny_checkpoint, tmp_path / "model")
        # What pads has the id 0 in the checkpoint's tokenizer; MPNet counts from the id 1.
        model = tiny_classifier(model_type, max_position_embeddings=20, pad_token_id=0)
        if model_type == "mpnet":
            change(tmp_path / "model" / "tokenizer_config.json", pad_token="[UNK]")
        model.save_pretrained(tmp_path / "model")
        return find_checkpoint(ModelConfig(model=str(tmp_path / "model"))), model

    return checkpoint_of


@pytest.mark.parametrize(
    ("model_type", "longest"),
    # The first positions of these three are the padding's and what stands before it.
    [("bert", 20), ("distilbert", 20), ("roberta", 19), ("xlm-roberta", 19), ("mpnet", 18)],
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


def load(folder, max_length=16):
    return load_tokenizer(Checkpoint(folder=folder, digest=""), max_length=max_length)


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_unreadable_tokenizer_is_refused(broken):
    (broken / "tokenizer.json").write_text("{}")
    checkpoint = find_checkpoint(ModelConfig(model=str(broken)))

    with pytest.raises(InputError, match="Cannot read the tokenizer"):
        load_tokenizer(checkpoint, max_length=16)


def test_model_without_its_tokenizer_is_refused(broken):
    (broken / "tokenizer.json").unlink()
    (broken / "tokenizer_config.json").unlink()

    with pytest.raises(InputError, match="its vocabulary has no words"):
        load(broken)


def test_vocabulary_without_its_merges_is_refused(broken):
    letters = [*"abcdefghijklmnopqrstuvwxyz", "\u0120"]
    words = [f"{a}{b}" for a in letters[:6] for b in letters[:6]]
    vocabulary = {word: number for number, word in enumerate([*letters, *words, "<|endoftext|>"])}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (broken / name).unlink()
    (broken / "vocab.json").write_text(json.dumps(vocabulary))
    (broken / "merges.txt").write_text("#version: 0.2\na b\n")
    change(broken / "config.json", model_type="gpt2")

    with pytest.raises(InputError, match="1 merges for 36 words"):
        load(broken)


def test_more_tokens_than_embeddings_are_refused(broken):
    change(broken / "config.json", vocab_size=20)

    with pytest.raises(InputError, match=r"is not the model's: its token .* embeddings for 20 ids"):
        load(broken)


def test_far_fewer_tokens_than_embeddings_are_refused(broken):
    change(broken / "config.json", vocab_size=30522)

    with pytest.raises(InputError, match="is not the model's: its ids end at"):
        load(broken)


def test_two_readings_of_a_tokenizer_are_refused_with_both(broken):
    change(broken / "tokenizer_config.json", do_lower_case=False)

    with pytest.raises(InputError, match=r"describe two tokenizers: of .* as a BertTokenizer"):
        load(broken)


def test_padding_from_which_no_position_is_counted_is_refused(broken):
    change(broken / "config.json", model_type="roberta", pad_token_id=1)

    with pytest.raises(InputError, match=r"pads with the id 0\. .* the padding id 1"):
        load(broken)


def test_decoder_is_padded_with_the_token_that_its_head_skips(broken):
    change(broken / "config.json", model_type="llama", pad_token_id=3)

    assert load(broken).pad_token == "[SEP]"


def test_fewer_tokens_than_special_ones_are_refused(broken):
    with pytest.raises(InputError, match="adds 2 special tokens to each text"):
        load(broken, max_length=2)


def test_pair_that_special_tokens_leave_no_room_for_is_refused(broken):
    with pytest.raises(InputError, match="the special tokens of a pair of texts alone are 3"):
        encode(load(broken, max_length=3), [("good", "film")], max_length=3)


def test_texts_of_unknown_words_are_refused(broken):
    texts = [("\N{SNOWMAN} " * 10,)] * 20

    with pytest.raises(InputError, match="100% of the tokens of these texts are"):
        encode(load(broken), texts, max_length=16)


def test_end_of_a_long_text_is_kept_everywhere_where_the_tokenizer_keeps_it(broken, tmp_path):
    change(broken / "tokenizer_config.json", truncation_side="left")
    text = "bad dull story but with awful boring ending today and so it was good lovely film"
    tokenizer = load(broken, max_length=8)

    save_tokenizer(tokenizer, tmp_path / "bundle")

    (trained,) = encode(tokenizer, [(text,)], max_length=8)
    (served,) = load_encoder(tmp_path / "bundle").encode([(text,)])
    reread = AutoTokenizer.from_pretrained(tmp_path / "bundle")
    assert reread.decode(trained["input_ids"]) == "[CLS] so it was good lovely film [SEP]"
    assert trained == served == dict(reread(text, truncation=True))
