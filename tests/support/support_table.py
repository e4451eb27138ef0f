"""The tables of docs/support.md: what each task and architecture can do, asked of the code.

A cell is what the product's own function does with a tiny random model: it works, or it refuses.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import get_args

from support.task_chains import TASK_RUNS
from support.task_flows import FLOWS
from support.tiny_models import make_classifier
from transformers import PreTrainedModel

from models.absorption.extra_units import widen_ffn
from models.adapters.drop import check_droppable
from models.architectures.table import ARCHITECTURES, architecture_of
from models.student import keep_layers
from pipeline.chain.stage_names import StageName
from pipeline.checkpoints.adapterhub.head import hub_head
from pipeline.errors import InputError
from pipeline.tasks.all_tasks import TASKS
from pipeline.tasks.task import Task

YES, NO = "yes", "-"
_HEAD = """# What is supported

This page says which architecture runs which task, and what each combination can do. Look here
before you choose a backbone.

A test computes this page from the code, and keeps it current (`tests/test_support_table.py`). For
each cell, the product's own function is called with a tiny model of the architecture. `-` means
that it refuses, with one message.

## Tasks and architectures
"""
_STAGES = """
No stage of the chain depends on the name of the task or the architecture. The following stages
therefore accept every pair with a yes:

{stages}

The flows around the chain accept them too. A test runs all of these pairs
(`tests/pipeline/chain/test_flows_by_task.py`).

{flows}

## What differs by task
"""


def render() -> str:
    """Return the page."""
    stages = ", ".join(f"`{name}`" for name in get_args(StageName))
    by_architecture = [
        (name, *(_asked(partial(_model, task, name)) for task in TASKS.values()))
        for name in ARCHITECTURES
    ]
    by_part = [
        (name, *(_asked(partial(part, name)) for part in _PARTS.values())) for name in ARCHITECTURES
    ]
    lines = [
        _HEAD,
        *_table(("architecture", *TASKS), by_architecture),
        _STAGES.format(stages=stages, flows="\n".join(_flows())),
        *_table(("", *TASKS), _task_rows()),
        "\n## What differs by architecture\n",
        *_table(("architecture", *_PARTS), by_part),
    ]
    return "\n".join(lines) + "\n"


def _flows() -> list[str]:
    rows = [(f"`{flow}`", *(YES for _ in TASK_RUNS)) for flow in FLOWS]
    return _table(("flow", *TASK_RUNS), rows)


def _model(task: Task, model_type: str) -> PreTrainedModel:
    """Return a tiny model for a task, whose head the architecture's entry describes."""
    objective = task.objective()
    config = make_classifier(model_type, num_labels=2).config  # of which an answer has two ends
    model: PreTrainedModel = objective.model_class.from_config(config)
    if objective.head(architecture_of(model_type)) is None:
        raise ValueError(f"a {model_type} has no head for {task.name}")
    return model


def _task_rows() -> list[Sequence[str]]:
    rows: dict[str, Callable[[Task], str]] = {
        "`new` proposes a config": lambda task: _said(task.labels.propose),
        "thresholds are chosen and shipped": lambda task: _said(task.thresholds),
        "`import`, `export-adapter`: AdapterHub's head": lambda task: task.hub_head or NO,
        "classes are compared one by one (gate, report)": lambda task: _said(task.members),
        "model class": _model_class,
        "hub task": lambda task: task.words.hub_task,
    }
    return [(row, *(find(task) for task in TASKS.values())) for row, find in rows.items()]


def _model_class(task: Task) -> str:
    ends = task.model_suffix
    return ", ".join(f"`...{end}`" for end in ((ends,) if isinstance(ends, str) else ends))


def _fewer_layers(name: str) -> None:
    keep_layers(make_classifier(name), architecture_of(name), [0])


def _adapter_drop(name: str) -> None:
    check_droppable(make_classifier(name).base_model, architecture_of(name), 1)


def _extra_units(name: str) -> None:
    widen_ffn(make_classifier(name), architecture_of(name), 4)


def _stock_head(name: str) -> None:
    hub_head(make_classifier(name), "task", head_type="classification")


_PARTS: dict[str, Callable[[str], None]] = {
    "`sweep`, `student.layers`: fewer layers": _fewer_layers,
    "AdapterDrop": _adapter_drop,
    "`absorb.extra_units`": _extra_units,
    "`export-adapter`: sequence head": _stock_head,
}


def _asked(act: Callable[[], object]) -> str:
    """Return whether something works, or is refused."""
    try:
        act()
    except (InputError, ValueError):
        return NO
    return YES


def _said(part: object) -> str:
    return NO if part is None else YES


def _table(header: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    header = list(header)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]
