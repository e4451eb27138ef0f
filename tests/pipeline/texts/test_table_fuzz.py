"""Whatever a table looks like: its rows come out as they are, or one `InputError` does."""

import os
import random

import pytest
from support.random_tables import LABELS, delimited_case
from support.random_typed_tables import json_case, parquet_case

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import read_split


def make_case(seed):
    rng = random.Random(seed)
    story = [f"seed {seed}"]
    labels = rng.choice(LABELS)
    make = rng.choice([delimited_case] * 6 + [json_case] * 3 + [parquet_case] * 2)
    return make(rng, labels, story)


def read_rows(case, folder):
    """Return every row that the data stage makes of a file."""
    path = folder / f"table{case.suffix}"
    path.write_bytes(case.data)
    config = DataConfig(train=str(path), labels=case.labels, validation_size=1, test_size=1)
    settings = DataSettings(task=CLASSIFICATION, data=config, sources=(), seed=0)
    prepare_data(settings, folder)
    return {
        text: case.labels[label]
        for name in SPLITS
        for split in [read_split(folder, name)]
        for (text,), label in zip(split.texts, split.labels, strict=True)
    }


def problem_of(case, folder):
    """Return what is wrong with the reading of a case; None where nothing is."""
    try:
        found = read_rows(case, folder)
    except InputError as error:
        return None if str(error).strip() else "an empty message"
    # What must not happen is named, whatever it is.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if case.must_refuse:
        return "it was read"
    return difference(case, found)


def difference(case, found):
    expected = {text.strip(): label for text, label in reversed(case.expected) if text.strip()}
    missing = {t: la for t, la in expected.items() if found.get(t) != la}
    strange = {t: la for t, la in found.items() if expected.get(t) != la}
    if case.may_end_early:
        order = [text.strip() for text, _ in case.expected if text.strip()]
        kept = [text for text in dict.fromkeys(order) if text not in missing]
        is_prefix = order[: len(kept)] == kept or len(missing) <= len(order) - len(kept)
        # The last row may be cut, inside its text.
        last = all(any(text.startswith(t) for text in missing) for t in strange)
        return None if is_prefix and len(strange) <= 1 and last else f"{missing} -> {strange}"
    allowed = 0 if case.damaged is None else 1
    if len(missing) == len(strange) <= allowed:
        return None
    return f"{missing} -> {strange}"


def run_cases(seeds, folder):
    """Return the stories of cases that were read wrongly, and how many were read and refused."""
    wrong = []
    for seed in seeds:
        case = make_case(seed)
        if case is not None and (problem := problem_of(case, folder)):
            wrong.append((case.story, problem[:300]))
    return wrong


def test_tables_are_read_as_they_are_or_refused(tmp_path):
    assert run_cases(range(300), tmp_path) == []


@pytest.mark.slow
def test_ten_thousand_tables_are_read_as_they_are_or_refused(tmp_path):
    first = int(os.environ.get("TABLES_FROM", "1000"))

    assert run_cases(range(first, first + 10_000), tmp_path) == []
