r"""Variants of absorption, side by side: which brings the student closer, by how much, and where.

For each config and seed, a teacher is trained once. Each variant then absorbs it with some settings
changed. All are compared with their teacher on the same test texts, so that variants are paired by
text. The gain of a variant is the mean difference of its KL to the first variant's, with its
interval. Models with the student's layers up to one and the teacher's after show where the KL
arises. Everything is a stage of the store in ``runs_dir``: a second run only measures.

    python -m benchmarks.absorption_variants configs/demo.toml --seeds 0,1,2 \
        --variant "alike absorb.weigh_tokens=false" --variant "weighed"
"""

import copy
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from transformers import PreTrainedModel

from benchmarks.absorption import Study
from pipeline.chain.student_steps import absorb_step
from pipeline.checkpoints.pretrained import Checkpoint, find_architecture
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import RunConfig
from pipeline.config.load import load_config
from pipeline.store.files import write_atomic
from pipeline.training.encoding import compute_outputs, encode

Row = dict[str, Any]
_RESAMPLES = 2000


class Comparison:
    """A teacher with a test split, and how far students are from it."""

    def __init__(self, config: RunConfig) -> None:
        self.study = Study.of(config)
        context = self.study.stages.context
        self.objective = context.task.objective()
        self.tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
        self.examples = encode(self.tokenizer, self.study.test.texts, max_length=context.max_length)
        self.teacher = load_teacher(context.backbone, self.study.stages.teacher.folder)

    def outputs(self, model: PreTrainedModel) -> np.ndarray:
        """Return a model's outputs on the test split."""
        return compute_outputs(model, self.objective, self.tokenizer, self.examples)

    def distances(self, outputs: np.ndarray) -> np.ndarray:
        """Return the distance of each text's outputs to the teacher's, (N,), at temperature 1."""
        own, wanted = (torch.from_numpy(each) for each in (outputs, self.study.outputs))
        per_text = self.objective.soft(own, wanted, 1.0)
        if self.objective.count is not None:
            items = torch.stack([self.objective.count(text[None]) for text in wanted])
            per_text = per_text / items
        return per_text.numpy()

    def absorb(self, config: RunConfig) -> tuple[PreTrainedModel, float]:
        """Return the student of a variant, and the seconds of its stage."""
        stages = self.study.stages
        built = self.study.store.ensure(
            absorb_step(config, stages.context, stages.data, stages.teacher)
        )
        checkpoint = Checkpoint(folder=built.folder, digest=built.digest)
        labels = stages.data.facts.labels
        return load_model(checkpoint, self.objective, labels=labels), built.seconds

    def by_layer(self, student: PreTrainedModel) -> list[float]:
        """Return the mean distance with the student's layers up to each one, the last left out."""
        architecture = find_architecture(student)
        mixed = copy.deepcopy(self.teacher)
        layers, own = (architecture.layers(of.base_model) for of in (mixed, student))
        if len(layers) != len(own) or architecture.shared_layers:
            return []
        found = []
        for number in range(len(layers) - 1):
            layers[number] = own[number]
            found.append(float(self.distances(self.outputs(mixed)).mean()))
        return found


def measure(
    path: Path, seed: int, variants: dict[str, list[str]], overrides: list[str], *, layers: bool
) -> Iterator[Row]:
    """Yield a row for every variant of one config and seed."""
    shared = [*overrides, f"seed={seed}"]
    comparison = Comparison(load_config(path, shared))
    task = comparison.study.stages.context.task
    first: np.ndarray | None = None
    for name, changes in variants.items():
        student, seconds = comparison.absorb(load_config(path, [*shared, *changes]))
        outputs = comparison.outputs(student)
        distances = comparison.distances(outputs)
        first = distances if first is None else first
        quality = task.metrics(outputs, comparison.study.test.labels)
        fidelity = task.fidelity(outputs, comparison.study.outputs)
        yield {
            "config": path.stem,
            "seed": seed,
            "variant": name,
            "distance": float(distances.mean()),
            "difference": float((distances - first).mean()),
            "interval": interval(distances - first),
            task.agreement: fidelity[task.agreement],
            task.main_metric: quality[task.main_metric],
            "seconds": round(seconds, 1),
            "by_layer": comparison.by_layer(student) if layers else [],
        }


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a mean over texts, by bootstrap."""
    rng = np.random.default_rng(0)
    rows = rng.integers(len(differences), size=(_RESAMPLES, len(differences)))
    low, high = np.quantile(differences[rows].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def read_variants(wanted: list[str]) -> dict[str, list[str]]:
    """Return settings by name of variants that are written as a name and ``key=value`` pairs."""
    return {name: changes for name, *changes in (variant.split() for variant in wanted)}


def main(
    configs: Annotated[list[Path], typer.Argument(help="TOML files of teachers and their data.")],
    variant: Annotated[list[str], typer.Option(help='"NAME KEY=VALUE ...", the first to compare.')],
    out: Annotated[Path | None, typer.Option(help="JSON file of the rows.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of teacher and absorption.")] = "0",
    layers: Annotated[bool, typer.Option(help="Say where the distance arises.")] = True,
) -> None:
    """Compare variants of absorption on several teachers."""
    rows: list[Row] = []
    measured = partial(measure, variants=read_variants(variant), overrides=overrides or [])
    for path in configs:
        for seed in map(int, seeds.split(",")):
            for row in measured(path, seed, layers=layers):
                rows.append(row)
                print(json.dumps(row), flush=True)
                if out is not None:
                    write_atomic(out, json.dumps(rows, indent=1))


if __name__ == "__main__":
    typer.run(main)
