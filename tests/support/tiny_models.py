"""Fixtures: tiny random models, batches, a checkpoint with a tokenizer, and texts in its words."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from support.tiny_store import make_once
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BatchEncoding,
    BertTokenizerFast,
    PreTrainedModel,
)

from pipeline.store.store import Store

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GOOD = "good great lovely superb charming brilliant delightful fresh moving fine"
BAD = "bad awful boring dreadful dull stupid clumsy stale empty poor"
NEUTRAL = """
the a this that film movie story plot scene actor actress script director music camera ending is
was seems looks feels and but with of in about very quite rather really so too it we you i saw found
thought again today yesterday people family war city night day year part first last half long short
"""
DECODERS = ("llama", "mistral", "qwen2", "qwen3")


def make_classifier(model_type: str, *, seed: int = 0, **settings: object) -> PreTrainedModel:
    """Return a random classifier in eval mode: D = 32, two layers, three classes."""
    # Larger weights than the default's, so that activations are far from linear.
    shape = {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "num_labels": 3,
        "hidden_dim" if model_type == "distilbert" else "intermediate_size": 64,
    }
    if model_type in ("electra", "albert"):
        shape["embedding_size"] = 32
    if model_type == "gpt2":
        shape["n_inner"] = shape.pop("intermediate_size")
        shape["activation_function"] = "gelu"
    if model_type == "albert":
        shape["hidden_act"] = "gelu"
    if model_type in DECODERS:
        shape |= {"num_key_value_heads": 1, "head_dim": 16}
    if model_type in (*DECODERS, "gpt2", "modernbert"):  # whose own are beyond 100 words
        shape |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache": False}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **shape | settings)
    return AutoModelForSequenceClassification.from_config(config).eval()


def make_batch(
    model: PreTrainedModel, lengths: Sequence[int], *, seed: int = 0, width: int | None = None
) -> BatchEncoding:
    """Return random token ids of the given lengths, padded on the right to the longest."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), width or max(lengths))
    ids = torch.full(shape, model.config.pad_token_id)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(
            5, model.config.vocab_size, (length,), generator=generator
        )
        mask[row, :length] = 1
    return BatchEncoding({"input_ids": ids, "attention_mask": mask})


@pytest.fixture(scope="session")
def tiny_classifier() -> Callable[..., PreTrainedModel]:
    """``tiny_classifier(model_type, seed=0, **config)``: a random classifier in eval mode."""
    return make_classifier


@pytest.fixture(scope="session")
def token_batch() -> Callable[..., BatchEncoding]:
    """``token_batch(model, lengths, seed=0, width=None)``: token ids and mask, without labels."""
    return make_batch


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_store: Store) -> Path:
    """A folder with a random BERT classifier of two classes and its fast tokenizer."""
    return make_once(tiny_store.root / "tiny-bert", _write_checkpoint)


def _write_checkpoint(folder: Path) -> None:
    words = [*SPECIAL, *GOOD.split(), *BAD.split(), *NEUTRAL.split()]
    model = make_classifier("bert", vocab_size=len(words), num_labels=2)
    _give_opinions(model, words)
    model.save_pretrained(folder)
    vocabulary = {word: index for index, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(folder)


def _give_opinions(model: PreTrainedModel, words: list[str]) -> None:
    """Let good and bad words stand on two sides, as in a pretrained model, so that a head learns.

    The first half of the units tells the sides.
    """
    vectors = model.get_input_embeddings().weight.detach()
    side = torch.ones(vectors.shape[1])
    side[len(side) // 2 :] = -1
    for number, word in enumerate(words):
        vectors[number] += side * ((word in GOOD.split()) - (word in BAD.split()))


@pytest.fixture(scope="session")
def tiny_csv(tiny_store: Store) -> Path:
    """A CSV with the columns text, label and source: 120 texts in `tiny_checkpoint`'s words."""
    return make_once(tiny_store.root / "reviews.csv", _write_reviews)


def _write_reviews(path: Path) -> None:
    rng = random.Random(0)
    rows = []
    for number in range(120):
        label, opinions = ("positive", GOOD) if number % 2 else ("negative", BAD)
        words = rng.sample(opinions.split(), k=3)
        words += rng.sample(NEUTRAL.split(), k=rng.randint(2, 8))
        rng.shuffle(words)
        rows.append((" ".join(words), label, "press" if number % 3 else "forum"))
    _write_csv(path, [("text", "label", "source"), *rows])


@pytest.fixture(scope="session")
def tiny_scores_csv(tiny_store: Store) -> Path:
    """A CSV with the columns first, second and score: 160 pairs of texts, and a number of each.

    The score is 200, plus 25 for each good word of the pair, minus 25 for each bad one.
    """
    return make_once(tiny_store.root / "scores.csv", _write_scores)


def _write_scores(path: Path) -> None:
    rng = random.Random(0)
    rows = []
    for _ in range(160):
        good = rng.randint(0, 4)
        words = rng.sample(GOOD.split(), k=good) + rng.sample(BAD.split(), k=4 - good)
        words += rng.sample(NEUTRAL.split(), k=4)
        rng.shuffle(words)
        rows.append((" ".join(words[:4]), " ".join(words[4:]), 200 + 25 * (2 * good - 4)))
    _write_csv(path, [("first", "second", "score"), *rows])


@pytest.fixture(scope="session")
def tiny_sets_jsonl(tiny_store: Store) -> Path:
    """A JSONL file with the columns text and labels: 160 texts, each with some of three labels.

    The labels are praise (a good word is in the text), blame (a bad one) and people.
    """
    return make_once(tiny_store.root / "sets.jsonl", _write_sets)


def _write_sets(path: Path) -> None:
    rng = random.Random(0)
    topics = {"praise": GOOD.split(), "blame": BAD.split(), "people": ["actor", "director", "you"]}
    plain = [word for word in NEUTRAL.split() if word not in topics["people"]]
    lines = []
    for _ in range(160):
        labels = [label for label in topics if rng.random() < 0.4]
        words = [rng.choice(topics[label]) for label in labels for _ in range(2)]
        words += rng.sample(plain, k=4)
        rng.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "labels": labels}))
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_tags_conll(tiny_store: Store) -> Path:
    """A CoNLL file of 160 sentences with entities of the types praise and people.

    Praise is a good word; people are two words, of which the second is always "director".
    """
    return make_once(tiny_store.root / "tags.conll", _write_tags)


def _write_tags(path: Path) -> None:
    rng = random.Random(0)
    plain = [word for word in NEUTRAL.split() if word not in ("actor", "actress", "director")]
    sentences = []
    for _ in range(160):
        lines = []
        for _ in range(rng.randint(1, 3)):
            lines += [f"{word}\tO" for word in rng.sample(plain, k=rng.randint(1, 2))]
            praise = [f"{rng.choice(GOOD.split())}\tB-praise"]
            people = [f"{rng.choice(['actor', 'actress'])}\tB-people", "director\tI-people"]
            lines += rng.choice([praise, people])
        sentences.append("\n".join(lines))
    path.write_text("\n\n".join(sentences), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_squad_json(tiny_store: Store) -> Path:
    """A file in SQuAD's JSON of 50 contexts with three questions each, a fifth of them without one.

    The answer is the context's good word, with a "director" behind it where there is one.
    """
    return make_once(tiny_store.root / "squad.json", _write_squad)


def _write_squad(path: Path) -> None:
    rng = random.Random(0)
    plain = [word for word in NEUTRAL.split() if word != "director"]
    paragraphs = []
    for number in range(50):
        words = rng.choices(plain, k=rng.randint(6, 30))
        answer = f"{rng.choice(GOOD.split())}{rng.choice(['', ' director'])}"
        before = " ".join(words[: rng.randint(0, len(words))])
        answers = [{"text": answer, "answer_start": len(before) + (before != "")}]
        if number % 5 == 0:
            answer, answers = "director", []
        behind = " ".join(words[len(before.split()) :])
        questions = [
            {
                "id": f"q{number}-{count}",
                "question": " ".join(rng.sample(plain, k=3)),
                "answers": answers,
                "is_impossible": not answers,
            }
            for count in range(3)
        ]
        context = " ".join(part for part in (before, answer, behind) if part)
        paragraphs.append({"context": context, "qas": questions})
    content = {"version": "v2.0", "data": [{"title": "films", "paragraphs": paragraphs}]}
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
