"""Speed of a device, and the difference of its results from the CPU's.

    python -m benchmarks.gpu [device]

The backbone has MiniLM-L6's shape with random weights, Houlsby adapters of 48 units, and texts of
about 30 random words. Speed and memory carry over to real ones, quality does not. It measures
absorption of 20,000 texts, soft targets of 100,000, and fine-tuning in the precision that the trial
chooses. Then it absorbs a few texts on the device and on the CPU. The last lines are a table in
Markdown. `scripts/gpu` runs it after the tests.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from models.student import set_dropout
from models.teacher import freeze_backbone
from pipeline.checkpoints.compute import find_compute, place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import add_adapters, load_teacher, save_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import (
    AbsorbConfig,
    AdapterConfig,
    ComputeConfig,
    ModelConfig,
    TrainingConfig,
)
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.compute import Compute
from pipeline.facts.training import TrainingOutcome
from pipeline.stages.absorb import AbsorbSettings, absorb_teacher
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.texts.tables import Text
from pipeline.training.encoding import compute_outputs
from pipeline.training.goal import TrainingSetup
from pipeline.training.on_labels import train_on_labels
from pipeline.training.rows import make_rows

Result = TypeVar("Result")

LABELS = ("negative", "positive")
ADAPTER = AdapterConfig(bottleneck_size=48)
MAX_LENGTH = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much is measured."""

    words: int = 30_000
    layers: int = 6
    hidden: int = 384
    absorbed: int = 20_000
    targets: int = 100_000
    trained: int = 12_800
    compared: int = 512
    batch_size: int = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A teacher on disk, and the texts that it reads."""

    context: ModelContext
    teacher: Path
    texts: Sequence[Text]
    sizes: Sizes

    def on(self, compute: Compute) -> "Study":
        """Return the same study on another device."""
        return replace(self, context=replace(self.context, compute=compute))


def make_study(folder: Path, compute: Compute, sizes: Sizes) -> Study:
    """Return a random backbone, a teacher of it and random texts, written below a folder."""
    backbone = folder / "backbone"
    words = [f"word{number}" for number in range(sizes.words)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    write_tokenizer([*special, *words], backbone)
    torch.manual_seed(0)
    BertForSequenceClassification(
        BertConfig(
            vocab_size=len(special) + len(words),
            hidden_size=sizes.hidden,
            num_hidden_layers=sizes.layers,
            num_attention_heads=max(1, sizes.hidden // 32),
            intermediate_size=4 * sizes.hidden,
            initializer_range=0.06,
        )
    ).save_pretrained(backbone)
    context = ModelContext(
        backbone=find_checkpoint(ModelConfig(model=str(backbone))),
        task=CLASSIFICATION,
        max_length=MAX_LENGTH,
        seed=0,
        compute=compute,
    )
    model = load_model(context.backbone, CLASSIFICATION.objective(), labels=LABELS)
    add_adapters(model, ADAPTER)
    with torch.no_grad():  # new adapters are the identity: give them something to do
        for name, parameter in model.named_parameters():
            if "adapter" in name and parameter.ndim > 1:
                parameter.normal_(std=0.05)
    teacher = folder / "teacher"
    teacher.mkdir()
    save_teacher(model, teacher, context=context, labels=LABELS, adapter=ADAPTER)
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 50, size=max(sizes.targets, sizes.absorbed, sizes.trained))
    texts = [(" ".join(rng.choice(words, size=length)),) for length in lengths]
    return Study(context=context, teacher=teacher, texts=texts, sizes=sizes)


def write_tokenizer(words: Sequence[str], folder: Path) -> None:
    """Write a tokenizer that knows these words, the special ones first."""
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    )
    fast.save_pretrained(folder)


def absorb(study: Study, count: int, out: Path) -> AbsorbFacts:
    """Absorb a number of texts."""
    settings = AbsorbSettings(
        context=study.context,
        absorb=AbsorbConfig(batch_size=study.sizes.batch_size, exact="never"),
        layers=None,
    )
    out.mkdir(exist_ok=True)
    return absorb_teacher(study.texts[:count], study.teacher, settings, out)


def soft_targets(study: Study, count: int) -> np.ndarray:
    """Return the teacher's outputs on a number of texts, tokenised here too."""
    context = study.context
    model = place(load_teacher(context.backbone, study.teacher), context.compute)
    tokenizer = load_tokenizer(context.backbone, max_length=MAX_LENGTH)
    rows = make_rows(tokenizer, study.texts[:count], context.task, max_length=MAX_LENGTH)
    return compute_outputs(
        model,
        context.task.objective(),
        tokenizer,
        rows.examples,
        batch_size=study.sizes.batch_size,
    )


def fine_tune(study: Study, count: int, out: Path) -> TrainingOutcome:
    """Train adapters for one epoch of a number of texts with random labels."""
    context, objective = study.context, study.context.task.objective()
    tokenizer = load_tokenizer(context.backbone, max_length=MAX_LENGTH)
    rows = make_rows(tokenizer, study.texts[:count], context.task, max_length=MAX_LENGTH)
    examples = [{**each, "labels": number % 2} for number, each in enumerate(rows.examples)]
    model = place(load_model(context.backbone, objective, labels=LABELS), context.compute)
    add_adapters(model, ADAPTER)
    freeze_backbone(model)
    set_dropout(model, 0.0)
    setup = TrainingSetup(
        model=model,
        tokenizer=tokenizer,
        objective=objective,
        training=examples,
        validation=examples[:64],
    )
    config = TrainingConfig(
        epochs=1, batch_size=min(64, study.sizes.batch_size), evaluations_per_epoch=1
    )
    out.mkdir(exist_ok=True)
    return train_on_labels(setup, config, out, context=context, title="fine-tuning")


def measure(compute: Compute, sizes: Sizes) -> list[tuple[str, str]]:
    """Return rows of a table: what was measured, and its value."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = make_study(folder, compute, sizes)
        absorb(study, 64, folder / "warm-up")
        rows = [("device", compute.described)]
        if compute.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        seconds, _ = _timed(lambda: absorb(study, sizes.absorbed, folder / "absorbed"))
        rows.append(("absorption, texts per second", f"{sizes.absorbed / seconds:,.0f}"))
        seconds, _ = _timed(lambda: soft_targets(study, sizes.targets))
        rows.append(("soft targets, texts per second", f"{sizes.targets / seconds:,.0f}"))
        seconds, outcome = _timed(lambda: fine_tune(study, sizes.trained, folder / "trained"))
        rows.append(
            (
                f"fine-tuning in {outcome.precision}, examples per second",
                f"{sizes.trained / seconds:,.0f}",
            )
        )
        if compute.is_cuda:
            peak = torch.cuda.max_memory_allocated() / 1024**3
            rows.append(("peak memory of the device", f"{peak:.2f} GiB"))
        return rows + _agreement(study, folder)


def _agreement(study: Study, folder: Path) -> list[tuple[str, str]]:
    """Return how far the device's results are from the CPU's, and the CPU's own speed."""
    count = study.sizes.compared
    on_cpu = study.on(find_compute(ComputeConfig(device="cpu")))
    outputs = np.abs(soft_targets(study, count) - soft_targets(on_cpu, count)).max()
    there = absorb(study, count, folder / "on-the-device")
    seconds, here = _timed(lambda: absorb(on_cpu, count, folder / "on-the-cpu"))
    r2 = max(abs(a.r2 - b.r2) for a, b in zip(there.sites, here.sites, strict=True))
    return [
        ("largest difference of an output from the CPU's", f"{outputs:.1e}"),
        ("largest difference of a site's held-out R2 from the CPU's", f"{r2:.1e}"),
        (
            f"absorption on the CPU, {count} texts, {torch.get_num_threads()} threads, "
            "texts per second",
            f"{count / seconds:,.0f}",
        ),
    ]


def _timed(run: Callable[[], Result]) -> tuple[float, Result]:
    started = time.perf_counter()
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, result


def main() -> None:
    """Measure a device, and print the table."""
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda"
    rows = measure(find_compute(ComputeConfig(device=device)), Sizes())
    print("\n| what | measured |\n|---|---|")
    for what, value in rows:
        print(f"| {what} | {value} |")


if __name__ == "__main__":
    main()
