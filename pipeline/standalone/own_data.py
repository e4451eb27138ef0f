"""The short forms: a table of one's own, and an adapter that is there, as whole configs.

A form asks for what nobody else can know. The rest is proposed from the table, as
`adapter-distill new` does it.
"""

import json
import logging
import tempfile
from pathlib import Path

from pydantic import Field

from pipeline.config import RunConfig, Section
from pipeline.config.load import load_config
from pipeline.config.task import TaskName
from pipeline.standalone.new import NewSettings, write_new_config
from pipeline.tasks.columns import Given

logger = logging.getLogger(__name__)


class _Table(Section):
    table: str
    """The table, on the worker's machine: a CSV, TSV, JSONL, Parquet or CoNLL file, or
    ``package://name/path``."""


class _Rest(Section):
    name: str | None = None
    """Name of the student; by default that of the file. A second run of this name is its next
    version."""

    task: TaskName | None = None
    """Kind of answer to a text; by default the only task that the table fits."""

    text: tuple[str, ...] = ()
    """Name of the text column, or of both of a pair; by default what the table leaves."""

    label: tuple[str, ...] = ()
    """Name of the label column, or of several columns of 0 and 1; by default what the table
    leaves."""

    runs_dir: Path = Field(default=RunConfig.model_fields["runs_dir"].default)
    """Folder of all results."""


class _Model(Section):
    model: str | None = None
    """The backbone: a folder, ``package://name/folder`` or a Hugging Face id; by default
    MiniLM-L6."""


class _Adapter(Section):
    adapter: str
    """Existing adapter: a folder that the adapters library saved, or its Hugging Face id. The
    teacher of an earlier run (``runs/latest/finetune``) will do too."""

    model: str
    """The backbone that it was trained in: a folder, ``package://name/folder`` or a Hugging Face
    id."""


# Of several bases pydantic takes the fields of the last one first.
class OwnData(_Rest, _Model, _Table):
    """A table of texts and labels."""


class OwnAdapter(_Rest, _Table, _Adapter):
    """An adapter that was trained already, and a table of texts and labels to measure it on."""


def propose_config(form: OwnData | OwnAdapter) -> RunConfig:
    """Return the config for a table, and log what was assumed.

    Raises:
        InputError: where the table cannot be read for certain, or its task or columns are not
            certain.
    """
    given = Given(text=form.text, label=form.label)
    with tempfile.TemporaryDirectory() as folder:
        path, assumed = write_new_config(
            NewSettings(
                source=form.table,
                task=form.task,
                given=given,
                model=form.model,
                out=Path(folder) / "config.toml",
            )
        )
        config = load_config(path, _overrides(form))
    for each in assumed:
        logger.info("assumed: %s", each)
    return config


def _overrides(form: OwnData | OwnAdapter) -> list[str]:
    """Return what the form says itself, as settings of the command line are given."""
    settings = [f"runs_dir={json.dumps(str(form.runs_dir))}"]
    if form.name is not None:
        settings.append(f"name={json.dumps(form.name)}")
    if isinstance(form, OwnAdapter):
        settings.append(f"teacher.adapter={{from = {json.dumps(form.adapter)}}}")
    return settings
