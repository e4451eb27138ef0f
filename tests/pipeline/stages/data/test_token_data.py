import json

import pytest

from pipeline.errors import InputError

TYPES = ("person", "place")
ROWS = [(["Ada", "of", "London", str(n)], ["B-person", "O", "B-place", "O"]) for n in range(30)]


def jsonl(path, rows=ROWS):
    path.write_text("\n".join(json.dumps({"tokens": a, "tags": b}) for a, b in rows))
    return path


@pytest.fixture
def prepare_tags(prepare):
    """``prepare_tags(path, **config)``: facts and splits of a token classification."""

    def prepare_tags(path, **config):
        names = {"text": "tokens", "label": "tags", "labels": TYPES}
        return prepare(path, task="token-classification", **names | config)

    return prepare_tags


def test_lists_of_words_and_tags_are_texts_and_indices(prepare_tags, tmp_path):
    rows = [*ROWS, (["Yes"], ["O"])]

    facts, splits = prepare_tags(jsonl(tmp_path / "train.jsonl", rows))

    found = {
        text: [tag for tag in tags if tag >= 0]
        for split in splits.values()
        for (text,), tags in zip(split.texts, split.labels.tolist(), strict=True)
    }
    assert found == {f"Ada of London {n}": [1, 0, 3, 0] for n in range(30)} | {"Yes": [0]}
    assert facts.labels == ("O", "B-person", "I-person", "B-place", "I-place")
    assert sum(counts["place"] for counts in facts.label_counts.values()) == 30


def test_tags_and_words_of_unlike_length_are_refused_with_their_line(prepare_tags, tmp_path):
    rows = [*ROWS, (["Yes", "!"], ["O"])]

    with pytest.raises(InputError, match=r"train\.jsonl, line 31: .* found 1 tags for 2 words"):
        prepare_tags(jsonl(tmp_path / "train.jsonl", rows))


def test_tags_that_are_no_iob2_are_refused_with_their_line(prepare_tags, tmp_path):
    rows = [*ROWS, (["Yes", "!"], ["O", "I-place"])]

    with pytest.raises(InputError, match=r"line 31: the tags are not IOB2. 'I-place' of word 2"):
        prepare_tags(jsonl(tmp_path / "train.jsonl", rows))


def test_type_that_only_the_test_file_has_is_refused(prepare_tags, tmp_path):
    test = jsonl(tmp_path / "test.jsonl", [(["ACME"], ["B-group"]), (["Yes"], ["O"])])

    with pytest.raises(InputError, match=r"'B-group' in .*test\.jsonl, line 1"):
        prepare_tags(jsonl(tmp_path / "train.jsonl"), test=str(test))


def test_texts_are_no_lists_of_words(prepare_tags, tmp_path):
    with pytest.raises(InputError, match="expected a list of words"):
        prepare_tags(jsonl(tmp_path / "train.jsonl", [("Ada ran", ["O", "O"])]))
