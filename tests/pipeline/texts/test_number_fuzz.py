"""Pairs whose labels are numbers: every row comes out as it is, or one `InputError` does."""

import csv
import io
import json
import math
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.random_tables import PIECES

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.tasks.regression import REGRESSION
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import read_split

SPELLINGS = (repr, "{:+.3f}".format, "{:.2e}".format, "  {:g} ".format, "{:.0f}".format)
NO_NUMBERS = (
    "1,5",
    "NaN",
    "inf",
    "-Infinity",
    "1_000",
    "0x10",
    "5/10",
    "five",
    "1e999",
    "-1e39",
    "1.2.3",
)


def random_rows(rng):
    """Return {(text, its pair): spelled number}."""
    pieces = [piece for piece in PIECES if "\r" not in piece]
    rows = {}
    for number in range(rng.randrange(12, 40)):
        pair = tuple("".join(rng.choices(pieces, k=4)).strip() + f" {number}" for _ in "ab")
        rows[pair] = rng.choice(SPELLINGS)(rng.uniform(-50, 50))
    return rows


def write(rng, rows, path):
    """Write rows in a random format that can hold them."""
    columns = ["text", "text_b", "label"]
    table = [[*pair, spelled] for pair, spelled in rows.items()]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(columns, zip(*table, strict=True), strict=True))), path)
        return
    out = io.StringIO()
    if path.suffix == ".jsonl":
        for row in table:
            spelled = row[-1].strip()
            # As a number where JSON has one of this spelling, and as a string elsewhere.
            is_number = not spelled.startswith("+") and spelled not in NO_NUMBERS
            row[-1] = float(spelled) if is_number and rng.random() < 0.5 else spelled
            out.write(json.dumps(dict(zip(columns, row, strict=True))) + "\n")
    else:
        order = rng.sample(range(3), 3)
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.writer(out, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"]))
        writer.writerows([each[at] for at in order] for each in [columns, *table])
    path.write_text(out.getvalue(), encoding="utf-8", newline="")


def read(path, folder):
    """Return {pair: number} of all splits that the data stage makes of a file."""
    data = DataConfig(train=str(path), text=("text", "text_b"), validation_size=1, test_size=1)
    prepare_data(DataSettings(task=REGRESSION, data=data, sources=(), seed=0), folder)
    splits = [read_split(folder, name) for name in SPLITS]
    return {
        pair: float(number)
        for split in splits
        for pair, number in zip(split.texts, split.labels, strict=True)
    }


@pytest.mark.parametrize("seed", range(40))
def test_pairs_and_numbers_are_read_as_they_are_or_refused(seed, tmp_path):
    rng = random.Random(seed)
    rows = random_rows(rng)
    spoiled = rng.choice(NO_NUMBERS) if rng.random() < 0.4 else None
    if spoiled:
        rows[rng.choice(list(rows))] = spoiled
    path = tmp_path / f"table{rng.choice(['.csv', '.tsv', '.jsonl', '.parquet'])}"
    write(rng, rows, path)

    if spoiled:
        with pytest.raises(InputError, match=r"no finite number") as refusal:
            read(path, tmp_path)
        assert repr(spoiled) in str(refusal.value)
    else:
        found = read(path, tmp_path)
        assert found == {pair: float(spelled) for pair, spelled in rows.items()}
        assert all(map(math.isfinite, found.values()))
