"""Every setting that shapes a result is in a key: all fields of the config are changed in turn.

A program is driven without building anything. The result of a step is a finished stage whose digest
is the step's key. A changed key therefore changes the keys of all stages that depend on it.
"""

from functools import partial
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Annotated, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.chain.chain import chain
from pipeline.chain.comparison import comparison
from pipeline.chain.program import Independent, drive
from pipeline.chain.sweep import sweep
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.config import AdapterConfig, AdapterSource, RunConfig
from pipeline.facts.quality import Measured
from pipeline.facts.variants import QuantizeFacts, Variant
from pipeline.graphs.variants import VARIANTS
from pipeline.store.stage import Stage
from pipeline.store.step import Step

SHAPES_NOTHING = {
    "name": "names the run's folder",
    "runs_dir": "says where results are",
    "shared_stages": "says where results are",
    "teacher.sha256": "is held against the weights, whose own digest is in the keys",
    "student.model.sha256": "is held against the weights, whose own digest is in the keys",
    "gate": "decides on what is measured",
    "compute": "says where stages compute, on which results differ by rounding alone",
    "release": "says what becomes of a finished run",
    "compare": "is for comparisons alone",
    "sweep": "is for sweeps alone",
    "pools": "says where stages are built",
    "cluster.runner": "says where shards are built",
    "cluster.address": "says where shards are built",
    "cluster.workers": "says where shards are built",
}
"""Fields, or tables, that shape no stage of the chain, and why."""


def sections_of(annotation):
    """Return the config sections that a field may hold; a mapping of names is no table."""
    if get_origin(annotation) is dict:
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_of(part)]


def leaves(section, prefix=""):
    """Return (section, path) of every field below a section that is no section itself."""
    found = []
    for name, field in section.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        inner = sections_of(field.annotation)
        found += [leaf for each in inner for leaf in leaves(each, f"{path}.")]
        found += [] if inner else [(section, path)]
    return found


LEAVES = leaves(RunConfig)


def variant_of(section, path):
    """Return the kind of chain in which a field has a meaning."""
    if path.startswith("fuse."):
        return "fuse"
    if section is AdapterSource:
        return "fused before" if path.endswith(".fusion") else "stack"
    if path.startswith("data.unlabelled"):
        return "unlabelled"
    if path in ("sweep.trials", "sweep.prune"):
        return "trials"
    return "another student" if path.startswith("student.model.") else "finetune"


@pytest.fixture(scope="module")
def files(tiny_csv, tiny_teacher, tmp_path_factory):
    """Values of the fields that name files or a device; each is another than the config's."""
    root = tmp_path_factory.mktemp("files")
    for name in "abcd":
        (root / name).mkdir()
        (root / name / "adapter_config.json").write_text(name)
        (root / name / "train.parquet").write_text(name)
    other = root / "other.csv"
    other.write_text(tiny_csv.read_text())
    return {
        "compute.device": "cpu",
        "data.train": str(other),
        "data.validation": str(other),
        "data.test": str(other),
        "data.splits_of": str(root / "a"),
        "data.unlabelled": [str(other)],
        "teacher.model": "another",
        "teacher.start": str(tiny_teacher.folder),
        "teacher.adapter.from": [str(root / "a"), str(root / "c")],
        "teacher.adapter.fusion": str(root / "d"),
        "student.model.model": "another",
        "sweep.over": {"absorb.texts": [9]},
        "sweep.prune": 0.0,
        "root": root,
    }


@pytest.fixture(scope="module")
def trees(tiny_csv, files):
    """A config of each kind, as TOML gives it."""
    two = [str(files["root"] / name) for name in "ab"]
    data = {"train": str(tiny_csv), "labels": ["negative", "positive"]}
    common = {"data": data, "sweep": {"layers": [1]}, "teacher": {"model": "one"}}
    adapters = {
        "stack": {"from": two, "together": "stack"},
        "fuse": {"from": two, "together": "fuse"},
        "fused before": {"from": two, "fusion": str(files["root"] / "c")},
    }
    composed = {
        name: common | {"teacher": {"model": "one", "adapter": adapter}}
        for name, adapter in adapters.items()
    }
    another = common | {"student": {"model": {"model": "two"}}}
    trials = {"layers": [1], "over": {"absorb.texts": {"low": 8, "high": 999}}, "trials": 12}
    unlabelled = common | {"data": data | {"unlabelled": [str(tiny_csv)]}}
    return {
        "finetune": common,
        "another student": another,
        "unlabelled": unlabelled,
        "trials": common | {"sweep": trials},
        **composed,
    }


@pytest.fixture(scope="module")
def keys_of(tiny_checkpoint):
    """``keys_of(program, tree or config)``: (name, key) of each step; nothing is built."""
    known = {}

    def keys_of(program, config):
        if isinstance(config, RunConfig):
            return drive_program(program(config))
        name = (program.__name__, str(config))
        if name not in known:
            known[name] = drive_program(program(RunConfig.model_validate(config)))
        return known[name]

    def drive_program(program):
        found = []

        def do(item):
            if isinstance(item, Independent):
                return tuple(map(do, item.steps))
            if not isinstance(item, Step):
                config = item.find.args[0]
                if item.name == "find-adapters":
                    return None
                return Checkpoint(folder=tiny_checkpoint, digest=config.model)
            key = item.key
            found.append((item.name, key))
            return Stage(
                name=item.name,
                folder=Path("nowhere") / key,
                digest=key,
                facts=facts_of(item),
                artifacts=(),
                seconds=0.0,
                reused=True,
            )

        drive(program, do)
        return found

    return keys_of


def facts_of(item):
    """Return the facts that a program looks at."""
    if item.name != "quantize":
        return SimpleNamespace(
            labels=("negative", "positive"),
            method=getattr(item.settings, "method", None),
            trainable_parameters=1,
            total_parameters=1,
            held_out={"mean_kl": int(item.key[:4], 16), "accuracy": 0.5},
            validation={"accuracy": 0.5},
        )
    nothing = Measured(values={}, intervals={})
    return QuantizeFacts(
        texts=1,
        confidence=0.95,
        chosen="fp32",
        file="model.onnx",
        variants=tuple(
            Variant(
                name=name,
                file=way.runtime.file,
                size_bytes=1,
                cost=nothing,
                fidelity=nothing,
                refused=None,
            )
            for name, way in VARIANTS.items()
        ),
        int8_products=1,
        has_vnni=False,
        fp16_bytes=1,
        fp16_difference=0.0,
    )


def changed(tree, path, files):
    """Return a config that differs in one field alone."""
    config = RunConfig.model_validate(tree)
    if path == "task":  # a regression has no names of classes
        data = config.data.model_copy(update={"labels": ()})
        return config.model_copy(update={"task": "regression", "data": data})
    whole = config.model_dump(mode="json", by_alias=True)
    *tables, name = path.split(".")
    table = whole
    for each in tables:
        if table[each] is None:
            table[each] = {}
        table = table[each]
    section = config
    for each in tables:
        section = getattr(section, each)
    field = next(f for n, f in type(section).model_fields.items() if name in (n, f.alias))
    before = table.get(name)
    for value in [files[path]] if path in files else others(before, field.annotation):
        table[name] = value
        try:
            found = RunConfig.model_validate(whole)
        except ValidationError:
            continue
        if found != config:
            return found
    raise AssertionError(f"no other value than {before!r} is known for {path}: add one here")


def others(value, annotation):
    """Yield other values of a field's type, of which one may be valid."""
    kinds = list(plain_types(annotation))
    yield from (each for each in kinds if not isinstance(each, type) and each != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, float):
        yield from (0.9 * value, value + 0.25)
    elif isinstance(value, str):
        yield f"{value}x"
    elif isinstance(value, list):
        yield from (value[:-1], value[::-1], [[1]], [0])
    elif isinstance(value, dict):
        yield {"source": "press"}
    else:
        yield from (3, 0.4, "other", "0" * 64, [0])


def plain_types(annotation):
    """Yield the types, and the members of literals, in an annotation."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is Annotated:
        yield from plain_types(get_args(annotation)[0])
    elif get_args(annotation):
        for part in get_args(annotation):
            yield from plain_types(part)
    elif annotation is not NoneType:
        yield annotation


def plain_sweep(config):
    return sweep(config, time_again=False)


def shapes_nothing(path):
    return any(path == each or path.startswith(f"{each}.") for each in SHAPES_NOTHING)


def test_keys_of_an_equal_config_are_equal(trees, keys_of):
    for tree in trees.values():
        first, second = (keys_of(chain, RunConfig.model_validate(tree)) for _ in range(2))

        assert first == second
        assert len(first) >= 9


@pytest.mark.parametrize(
    ("section", "path"), LEAVES, ids=[f"{section.__name__} {path}" for section, path in LEAVES]
)
def test_field_changes_a_key_of_the_chain_or_is_known_to_shape_nothing(
    trees, files, keys_of, section, path
):
    tree = trees[variant_of(section, path)]
    before = keys_of(chain, tree)

    after = keys_of(chain, changed(tree, path, files))

    assert (before == after) is shapes_nothing(path)


@pytest.mark.parametrize("path", [path for _, path in LEAVES if path.startswith("compare.")])
def test_field_changes_a_key_of_a_comparison(trees, files, keys_of, path):
    before = keys_of(comparison, trees["finetune"])

    after = keys_of(comparison, changed(trees["finetune"], path, files))

    assert before != after


@pytest.mark.parametrize("path", [path for _, path in LEAVES if path.startswith("sweep.")])
def test_field_changes_a_key_of_a_sweep(trees, files, keys_of, path):
    tree = trees["trials" if path in ("sweep.trials", "sweep.prune") else "finetune"]
    before = keys_of(plain_sweep, tree)

    after = keys_of(plain_sweep, changed(tree, path, files))

    assert before != after


@pytest.mark.parametrize(
    "path",
    ["data.label", "finetune.epochs", "teacher.adapter.scaling", "evaluate.confidence", "seed"],
)
@pytest.mark.parametrize("program", [comparison, plain_sweep])
def test_field_of_the_chain_changes_keys_of_the_other_programs_too(
    trees, files, keys_of, program, path
):
    before = keys_of(program, trees["finetune"])

    after = keys_of(program, changed(trees["finetune"], path, files))

    assert before != after


@pytest.mark.parametrize("drop", ["stack", "fuse"])
def test_dropped_layers_change_imported_and_fused_teachers(trees, files, keys_of, drop):
    before = keys_of(chain, trees[drop])

    after = keys_of(chain, changed(trees[drop], "teacher.adapter.drop_layers", files))

    assert before != after


def test_changed_content_of_a_file_changes_the_keys(trees, keys_of, tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,label\na,positive\n")
    data = trees["finetune"]["data"] | {"train": str(path)}
    config = RunConfig.model_validate(trees["finetune"] | {"data": data})
    before = keys_of(chain, config)

    path.write_text("text,label\nb,positive\n")

    assert keys_of(chain, config)[0] != before[0]


def test_changed_content_of_adapters_changes_the_teachers_key(trees, files, keys_of):
    config = RunConfig.model_validate(trees["fused before"])
    before = dict(keys_of(chain, config))

    adapter = files["root"] / "b" / "adapter_config.json"
    adapter.write_text("other")
    after = dict(keys_of(chain, config))
    adapter.write_text("b")

    assert after["import"] != before["import"]
    assert (after["data"], after["head-only"]) == (before["data"], before["head-only"])


def test_time_again_builds_the_latency_anew_under_the_same_key(trees, keys_of):
    again = partial(sweep, time_again=True)

    assert keys_of(again, RunConfig.model_validate(trees["finetune"])) == keys_of(
        plain_sweep, trees["finetune"]
    )


def test_every_kind_of_adapter_is_tried():
    assert {AdapterConfig, AdapterSource} <= {section for section, _ in LEAVES}


def test_unlabelled_texts_do_not_train_the_teacher_again(keys_of, trees):
    plain, more = (dict(keys_of(chain, trees[name])) for name in ("finetune", "unlabelled"))

    same = {name for name, key in plain.items() if more[name] == key}
    assert same == {"data", "head-only", "finetune"}
