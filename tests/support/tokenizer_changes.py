"""Changes of a checkpoint's tokenizer: missing, damaged, or not the model's."""

import json
import random
from pathlib import Path

from support.checkpoint_files import REFUSED, SAME, Change, edit_json, read_settings


def _no_tokenizer(folder: Path, rng: random.Random) -> str:
    (folder / "tokenizer.json").unlink()
    if rng.random() < 0.5:
        (folder / "tokenizer_config.json").unlink()
    return REFUSED


def _cut_tokenizer(folder: Path, rng: random.Random) -> str:
    path = folder / rng.choice(["tokenizer.json", "tokenizer_config.json"])
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) - 2)])
    return REFUSED


def _larger_vocabulary(folder: Path, rng: random.Random) -> str:
    said = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = said["model"]["vocab"]
    word = rng.choice(sorted(word for word in vocabulary if word.isalpha()))
    vocabulary[f"{word}x"] = read_settings(folder)["vocab_size"] + rng.choice([0, 5, 1000])
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return REFUSED


def _smaller_vocabulary(folder: Path, rng: random.Random) -> str:
    said = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = said["model"]["vocab"]
    keep = rng.randrange(5, 40)
    said["model"]["vocab"] = {word: i for word, i in vocabulary.items() if i < keep}
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return REFUSED


def _two_readings(folder: Path, rng: random.Random) -> str:
    kind = rng.randrange(3)
    if kind == 0:
        edit_json(folder, "tokenizer_config.json", do_lower_case=False)
    elif kind == 1:
        said = json.loads((folder / "tokenizer.json").read_text())
        said["normalizer"] = rng.choice([None, {"type": "NFC"}])
        (folder / "tokenizer.json").write_text(json.dumps(said))
    else:
        other = rng.choice(["RobertaTokenizer", "GPT2Tokenizer", "AlbertTokenizer"])
        edit_json(folder, "tokenizer_config.json", tokenizer_class=other)
    return REFUSED


def _generic_class(folder: Path, _rng: random.Random) -> str:
    edit_json(folder, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    return SAME


def _vocabulary_file(folder: Path, _rng: random.Random) -> str:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    words = sorted(vocabulary, key=vocabulary.get)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return SAME


def _odd_limit(folder: Path, rng: random.Random) -> str:
    limit = rng.choice([0, -1, 1, 1.5, "512", True, [16], {}, float("inf"), float("nan")])
    edit_json(folder, "tokenizer_config.json", model_max_length=limit)
    return REFUSED


def _odd_side(folder: Path, rng: random.Random) -> str:
    name = rng.choice(["truncation_side", "padding_side"])
    side = rng.choice(["left", "right", "top", None, 3])
    edit_json(folder, "tokenizer_config.json", **{name: side})
    return SAME if side in ("left", "right") else REFUSED


def _odd_special(folder: Path, rng: random.Random) -> str:
    name = rng.choice(["pad_token", "cls_token", "sep_token"])
    edit_json(folder, "tokenizer_config.json", **{name: "<not in the vocabulary>"})
    # The models have embeddings to spare, and what pads is masked.
    return SAME if name == "pad_token" else REFUSED


TOKENIZER_CHANGES: tuple[Change, ...] = (
    _no_tokenizer,
    _cut_tokenizer,
    _larger_vocabulary,
    _smaller_vocabulary,
    _two_readings,
    _generic_class,
    _vocabulary_file,
    _odd_limit,
    _odd_side,
    _odd_special,
)
