"""Flows around the chain, each as a function of a task's config, without Prefect.

``FLOWS`` lists them; docs/support.md names them, and tests/pipeline/chain/test_flows_by_task.py
runs each with every task.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from support.task_chains import changed

from adapter_distill import run
from pipeline.chain.comparison import comparison
from pipeline.chain.program import drive, perform
from pipeline.chain.stage_names import STAGES
from pipeline.chain.sweep import sweep
from pipeline.config import PromotionRule, RunConfig
from pipeline.decisions.pick import decide_sweep
from pipeline.release.against_champion import compare_with, find_drift
from pipeline.release.challenge import ChallengeConfig, choose_champion, go_on_from
from pipeline.release.promotion import promote
from pipeline.release.register import register
from pipeline.release.registry import open_registry
from pipeline.report.methods_page import publish_comparison
from pipeline.report.sweep_page import publish_sweep
from pipeline.store.store import Store
from pipeline.tasks.all_tasks import find_task

ANY = ChallengeConfig(max_metric_loss=1.0, min_texts=1)
"""A rule that a challenger meets whatever it answers."""


def run_sweep(config: RunConfig) -> None:
    """Make students of two layers and of one, time them, pick one, and write the page."""
    metric = find_task(config.task).main_metric
    own = changed(config, "sweep", layers=[1], precisions=["fp32", "int8"], blocks=3)
    own = changed(changed(own, "sweep", distill={**config.distill.model_dump()}), "gate")
    own = changed(own, "gate", min_quality=0.0)

    found = drive(sweep(own, time_again=False), _perform(own))
    decided = decide_sweep(own, found.files, found.quality.facts, found.times.facts, metric=metric)
    folder = publish_sweep(own.runs_dir, decided)

    assert decided.pick.name is not None
    assert {file.name.partition(",")[0] for file in decided.files} == {"2 layers", "1 layer"}
    assert (folder / "sweep.html").is_file()


def run_compare(config: RunConfig) -> None:
    """Compare adapters, LoRA and full fine-tuning, and write the page."""
    own = changed(config, "compare", methods=["houlsby", "lora", "full"], bottleneck_sizes=[])

    finished = drive(comparison(own), _perform(own))
    folder = publish_comparison(own, finished, find_task(own.task))

    models = {model.name: model for model in finished.facts.models}
    assert models["houlsby distilled"].is_plain_graph
    assert models["lora merged"].is_plain_graph
    assert not models["houlsby"].is_plain_graph
    agreement = find_task(own.task).agreement
    assert models["lora merged"].fidelity is not None
    assert models["lora merged"].fidelity.values[agreement] > 0.99
    assert (folder / "comparison.md").is_file()


def run_fuse(config: RunConfig) -> None:
    """Fuse two trained teachers, and bring the student to its gate."""
    first = run(config)
    second = run(changed(config, "teacher", adapter={"kind": "pfeiffer", "bottleneck_size": 4}))
    names = {"one": str(first.folder / "finetune"), "two": str(second.folder / "finetune")}
    own = changed(config, "teacher", adapter={"from": names, "together": "fuse"})
    own = changed(own, "fuse", epochs=1, batch_size=8, precision="fp32")

    found = run(own)

    assert (found.folder / "fuse" / "teacher.safetensors").is_file()
    assert found.report.student.start == "absorbed"


def run_retrain(config: RunConfig) -> None:
    """Retrain on more texts than the champion saw, and promote the challenger."""
    less = with_fewer_texts(config)
    registry = open_registry(None, config.runs_dir)
    champion = run(less)
    register(registry, champion.folder)
    promote(registry, config.name)
    texts = config.data.train

    challenger = run(go_on_from(champion.folder, changed(config, "data", train=texts)))
    drift = find_drift(challenger.folder / "data", champion.folder, ANY)
    paired = compare_with(champion.folder, challenger.folder, ANY)
    choice = choose_champion(
        paired,
        metric=find_task(config.task).main_metric,
        passed=challenger.passed,
        is_first=False,
        rule=ANY,
    )
    register(registry, challenger.folder)
    promotion = promote(registry, config.name, rule=PromotionRule(max_champion_drop=1.0))

    assert paired is not None
    assert drift
    assert choice.replaces, choice.reasons
    assert (promotion.previous, promotion.champion) == (1, 2)


FLOWS: dict[str, Callable[[RunConfig], None]] = {
    "sweep": run_sweep,
    "compare": run_compare,
    "fuse": run_fuse,
    "retrain": run_retrain,
}
"""By the name of their command or deployment."""


def _perform(config: RunConfig) -> Callable[..., object]:
    return partial(perform, Store(root=config.runs_dir / STAGES))


def with_fewer_texts(config: RunConfig) -> RunConfig:
    """Return the config with a source of the first two thirds of its texts."""
    source = Path(config.data.train)
    text, end = source.read_text(encoding="utf-8"), "\n"
    if source.suffix == ".json":  # SQuAD's
        tree = json.loads(text)
        paragraphs = tree["data"][0]["paragraphs"]
        tree["data"][0]["paragraphs"] = paragraphs[: len(paragraphs) * 2 // 3]
        text = json.dumps(tree)
    else:
        end = "\n\n" if source.suffix == ".conll" else end
        parts = text.strip("\n").split(end)
        text = end.join(parts[: len(parts) * 2 // 3]) + "\n"
    fewer = config.runs_dir / f"fewer-{source.name}"
    fewer.parent.mkdir(parents=True, exist_ok=True)
    fewer.write_text(text, encoding="utf-8")
    return changed(config, "data", train=str(fewer))
