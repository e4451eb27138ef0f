import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.config import AdapterConfig, TrainingConfig
from pipeline.facts.compute import Compute
from pipeline.facts.training import SoftTargetFacts
from pipeline.stages.finetune import FinetuneSettings, TeacherStart
from pipeline.store.stage import Stage
from pipeline.store.step import as_key, step
from pipeline.tasks.all_tasks import TASKS

ADAPTER = AdapterConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    seed: int = 0
    rate: float = 0.1
    name: str | None = None
    adapter: AdapterConfig = ADAPTER
    layers: tuple[int, ...] = (0, 1)
    filter: tuple[tuple[str, str], ...] = (("source", "press"),)
    where: Path = Path("here")


def stage(digest):
    return Stage(
        name="data", folder=None, digest=digest, facts=None, artifacts=(), seconds=0, reused=False
    )


A, B = stage("a" * 64), stage("b" * 64)


def make(*inputs, name="demo", settings=None, build=None, **options):
    """Return a step; its build returns all that it is given."""
    build = build or (lambda *given: given)
    settings = Settings() if settings is None else settings
    return step(name, build, *inputs, settings=settings, facts=tuple, **options)


@pytest.fixture
def settings():
    """Settings of a finetune stage."""
    context = ModelContext(
        backbone=Checkpoint(folder=Path("one"), digest="1" * 64, reference="one"),
        task=TASKS["classification"],
        max_length=16,
        seed=0,
        compute=Compute(),
    )
    start = TeacherStart(folder=Path("teacher"), sha256="2" * 64)
    return FinetuneSettings(
        context=context, training=TrainingConfig(), adapter=AdapterConfig(), start=start
    )


def test_build_gets_inputs_settings_and_folder_and_nothing_else(tmp_path):
    made = make(A, (A, B), None)

    assert made.run(tmp_path) == (A, (A, B), None, Settings(), tmp_path)


def test_equal_settings_give_equal_keys():
    assert make(A, settings=Settings(seed=1)).key == make(A, settings=Settings(seed=1)).key


def test_key_does_not_depend_on_the_order_of_a_mapping():
    one = make(settings={"seed": 0, "adapter": AdapterConfig()})
    other = make(settings={"adapter": AdapterConfig(), "seed": 0})

    assert one.key == other.key


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"rate": 0.2},
        {"name": "a"},
        {"adapter": AdapterConfig(scaling=2.0)},
        {"layers": (0,)},
        {"layers": (1, 0)},
        {"filter": ()},
        {"where": Path("there")},
    ],
    ids=str,
)
def test_every_setting_changes_the_key(change):
    assert make(settings=replace(Settings(), **change)).key != make().key


def test_settings_of_other_names_change_the_key():
    assert make(settings={"s": 0}).key != make(settings={"t": 0}).key


def test_name_changes_the_key():
    assert make(name="other").key != make().key


def test_every_input_and_its_place_change_the_key():
    inputs = [(), (A,), (B,), (A, B), (B, A), (A, None), (None, A), ((A, B),), ((A,), (B,))]

    assert len({make(*each).key for each in inputs}) == len(inputs)


def test_input_counts_by_its_digest_alone():
    elsewhere = replace(A, folder=Path("elsewhere"), facts=1, seconds=9.0, reused=True)

    assert make(elsewhere).key == make(A).key


@pytest.mark.parametrize("option", ["reaches_out", "again"])
def test_how_it_is_built_is_not_in_the_key(option):
    assert make(**{option: True}).key == make().key


def test_version_of_what_computes_changes_the_key(monkeypatch):
    before = make().key

    monkeypatch.setattr("pipeline.store.step._version_of", lambda package: f"new {package}")

    assert make().key != before


def test_checkpoint_counts_by_its_content_wherever_it_is(settings):
    context = settings.context
    moved = Checkpoint(folder=Path("two"), digest="1" * 64, reference="two")
    changed = replace(context.backbone, digest="3" * 64)

    key, same, other = (
        make(settings=replace(settings, context=replace(context, backbone=backbone))).key
        for backbone in (context.backbone, moved, changed)
    )

    assert key == same != other


def test_start_counts_by_its_content_wherever_it_is(settings):
    starts = [
        settings.start,
        TeacherStart(folder=Path("elsewhere"), sha256="2" * 64),
        TeacherStart(folder=Path("teacher"), sha256="3" * 64),
        None,
    ]

    key, same, other, none = (make(settings=replace(settings, start=s)).key for s in starts)

    assert key == same
    assert len({key, other, none}) == 3


def test_device_is_not_in_the_key(settings):
    on_gpu = replace(settings.context, compute=Compute(device="cuda:0"))

    assert make(settings=replace(settings, context=on_gpu)).key == make(settings=settings).key


@pytest.mark.parametrize(
    "change",
    [{"task": TASKS["regression"]}, {"max_length": 32}, {"seed": 1}],
    ids=["task", "max_length", "seed"],
)
def test_rest_of_the_context_changes_the_key(settings, change):
    context = replace(settings.context, **change)

    assert make(settings=replace(settings, context=context)).key != make(settings=settings).key


def test_task_counts_by_its_name():
    assert {as_key(task) for task in TASKS.values()} == set(TASKS)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_task_travels_to_another_process(task):
    assert pickle.loads(pickle.dumps(task)) == task


def test_step_with_a_context_pickles(settings):
    made = step("demo", as_key, settings=settings, facts=SoftTargetFacts)

    assert pickle.loads(pickle.dumps(made)).key == made.key


def test_what_has_no_plain_form_is_refused():
    with pytest.raises(TypeError, match="not JSON serializable"):
        _ = make(settings={"function": print}).key
