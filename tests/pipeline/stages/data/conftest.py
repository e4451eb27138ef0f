import pytest

from pipeline.config import DataConfig
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.tasks.all_tasks import find_task
from pipeline.texts.tables import read_split

SPLITS = ("train", "validation", "test")


@pytest.fixture
def write(tmp_path):
    """``write(rows, name="train.csv", header="text,label")``: a file with these rows."""

    def write(rows, name="train.csv", header="text,label"):
        separator = "\t" if name.endswith(".tsv") else ","
        lines = [header.replace(",", separator), *(separator.join(row) for row in rows)]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.fixture
def prepare(tmp_path_factory):
    """``prepare(path, seed=0, task="classification", **config)``: the facts and the splits."""

    def prepare(train, *, seed=0, task="classification", **config):
        out = tmp_path_factory.mktemp("data")
        labels = {"labels": ("negative", "positive")} if task == "classification" else {}
        settings = DataSettings(
            task=find_task(task),
            data=DataConfig(train=str(train), **labels | config),
            sources=(),
            seed=seed,
        )
        facts = prepare_data(settings, out)
        return facts, {name: read_split(out, name) for name in SPLITS}

    return prepare
