"""Random tokenizers in folders, as people and libraries write them."""

import json
import random
from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AlbertTokenizer,
    BertTokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
)

CORPUS = """Good films are moving, fresh and brilliant; bad ones boring, stale, DULL and clumsy!
I saw it yesterday with my family: 12 scenes, 3 actors, one long war story about a city at night.
Crème brûlée and naïve façades don't seem rather superb to Zoë... (really?) It's 1,234.56 EUR.
привет мир, 你好世界 und schöne Grüße aus Köln\n""".splitlines()
_NORMALISERS = {
    "none": None,
    "lower": normalizers.Lowercase(),
    "NFKC": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
    "accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "bert": normalizers.BertNormalizer(lowercase=True),
    "spaces": normalizers.Replace(" ", "_"),
}


def write_random_tokenizer(folder: Path, number: int) -> dict[str, object]:
    """Write the tokenizer of a number, and the config of its model; return what was chosen."""
    rng = random.Random(f"tokenizer {number}")
    kind = list(_KINDS)[number % len(_KINDS)]
    model_type, tokenizer = _KINDS[kind](rng)
    chosen: dict[str, object] = {
        "truncation_side": rng.choice(["left", "right"]),
        "padding_side": rng.choice(["left", "right"]),
        "model_max_length": rng.choice([64, 512, int(1e30)]),
        "split_special_tokens": rng.random() < 0.2,
    }
    folder.mkdir(parents=True)
    if rng.random() < 0.3:  # as libraries for sentence embeddings leave them
        tokenizer.backend_tokenizer.enable_truncation(32, direction=rng.choice(["left", "right"]))
        tokenizer.backend_tokenizer.enable_padding(length=16, pad_id=0, pad_token=SPECIAL[0])
    tokenizer.save_pretrained(folder)
    said = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(said | chosen))
    if kind in ("bert", "gpt2") and rng.random() < 0.4:
        _leave_vocabulary_files(folder)
        chosen["files"] = "vocabulary"
    config = {"model_type": model_type, "vocab_size": len(tokenizer) + rng.randrange(8)}
    config |= {"pad_token_id": tokenizer.pad_token_id, "max_position_embeddings": 512}
    if model_type in ("bert", "albert"):
        config["type_vocab_size"] = rng.choice([1, 2])
    (folder / "config.json").write_text(json.dumps(config))
    return {"kind": kind, **chosen}


SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")


def _bert(rng: random.Random) -> tuple[str, PreTrainedTokenizerBase]:
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    trained = _train_wordpiece(rng, normalizers.BertNormalizer(), names)
    return "bert", BertTokenizer(
        vocab=trained.get_vocab(),
        do_lower_case=rng.random() < 0.5,
        strip_accents=rng.choice([None, True, False]),
        tokenize_chinese_chars=rng.random() < 0.5,
    )


def _wordpiece(rng: random.Random) -> tuple[str, PreTrainedTokenizerBase]:
    tokenizer = _train_wordpiece(rng, rng.choice(list(_NORMALISERS.values())), SPECIAL)
    return rng.choice(["bert", "distilbert"]), _generic(tokenizer, rng)


def _gpt2(rng: random.Random) -> tuple[str, PreTrainedTokenizerBase]:
    vocabulary, merges = _train_bytes(rng, ("<|endoftext|>",))
    return "gpt2", GPT2Tokenizer(
        vocab=vocabulary, merges=merges, add_prefix_space=rng.random() < 0.5
    )


def _roberta(rng: random.Random) -> tuple[str, PreTrainedTokenizerBase]:
    vocabulary, merges = _train_bytes(rng, SPECIAL)
    return "roberta", RobertaTokenizer(
        vocab=vocabulary, merges=merges, add_prefix_space=rng.random() < 0.5
    )


def _bytes(rng: random.Random) -> tuple[str, PreTrainedTokenizerBase]:
    vocabulary, merges = _train_bytes(rng, SPECIAL)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = rng.choice([None, normalizers.NFC()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=rng.random() < 0.5)
    tokenizer.decoder = decoders.ByteLevel()
    return rng.choice(["llama", "modernbert"]), _generic(tokenizer, rng)


def _unigram(rng: random.Random) -> tuple[str, PreTrainedTokenizerBase]:
    tokenizer = _train_unigram(rng)
    return rng.choice(["albert", "xlm-roberta", "deberta-v2"]), _generic(tokenizer, rng)


def _albert(rng: random.Random) -> tuple[str, PreTrainedTokenizerBase]:
    vocabulary = json.loads(_train_unigram(rng).to_str())["model"]["vocab"]
    return "albert", AlbertTokenizer(
        vocab=[tuple(entry) for entry in vocabulary],
        do_lower_case=rng.random() < 0.5,
        keep_accents=rng.random() < 0.5,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
    )


_KINDS = {
    "bert": _bert,
    "WordPiece": _wordpiece,
    "gpt2": _gpt2,
    "roberta": _roberta,
    "BPE": _bytes,
    "Unigram": _unigram,
    "albert": _albert,
}


def _train_wordpiece(
    rng: random.Random, normaliser: normalizers.Normalizer | None, special: tuple[str, ...]
) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=special[1]))
    if normaliser is not None:
        tokenizer.normalizer = normaliser
    tokenizer.pre_tokenizer = rng.choice(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Whitespace()]
    )
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=rng.randrange(150, 400), special_tokens=list(special), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _train_bytes(
    rng: random.Random, special: tuple[str, ...]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=rng.randrange(300, 500),
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _train_unigram(rng: random.Random) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = rng.choice([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        prepend_scheme=rng.choice(["always", "first", "never"])
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=rng.randrange(120, 200),
        special_tokens=list(SPECIAL),
        unk_token=SPECIAL[1],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # Libraries read longer scores with errors in the last place: ties would be broken by these.
    tree = json.loads(tokenizer.to_str())
    tree["model"]["vocab"] = [[piece, round(score, 4)] for piece, score in tree["model"]["vocab"]]
    return Tokenizer.from_str(json.dumps(tree))


def _generic(tokenizer: Tokenizer, rng: random.Random) -> PreTrainedTokenizerBase:
    """Return a tokenizer with a random template of special tokens, of no class of its own."""
    ids = [(name, tokenizer.token_to_id(name)) for name in SPECIAL]
    first, last = rng.choice(["", "<s> "]), rng.choice(["", " </s>"])
    second = rng.choice([0, 1])
    middle = rng.choice(["", " </s>", " </s> </s>"])
    template = processors.TemplateProcessing(
        single=f"{first}$A{last}",
        pair=f"{first}$A{middle} $B:{second}{f'{last}:{second}' if last else ''}",
        special_tokens=ids,
    )
    if first or last:
        tokenizer.post_processor = template
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


def _leave_vocabulary_files(folder: Path) -> None:
    """Replace ``tokenizer.json`` by the vocabulary files of before there was one."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer.json").unlink()
    if model["type"] == "WordPiece":
        words = sorted(model["vocab"], key=model["vocab"].get)
        (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    else:
        (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
