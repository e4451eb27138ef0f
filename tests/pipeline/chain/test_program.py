import subprocess
import sys
from functools import partial

import pytest
from support.smoke_runs import SMOKE

from pipeline.chain.chain import chain
from pipeline.chain.decide import decide_run
from pipeline.chain.program import Lookup, built, drive, found, perform, progress
from pipeline.config.load import load_config
from pipeline.errors import InputError
from pipeline.store.digests import sha256_file
from pipeline.store.stage import Stage
from pipeline.store.step import step
from pipeline.store.store import Store

PROGRAMS = ("pipeline.chain.chain", "pipeline.chain.comparison", "pipeline.chain.sweep")


def count_words(text, folder):
    (folder / "text").write_text(text)
    return len(text.split())


def make(name, text="one two"):
    return step(name, count_words, settings=text, facts=int)


def program():
    """A program of a lookup, two stages, and a lookup that depends on the first stage."""
    text = yield from found(Lookup(name="find-text", find=lambda: "a b c"))
    first = yield from built(make("first", text))
    last = yield from found(Lookup(name="find-last", find=lambda: f"last of {first.facts}"))
    second = yield from built(make("second", last))
    return first, second


class Do:
    """The work of `perform` with a store; it remembers the names of the items."""

    def __init__(self, root):
        self.store, self.asked = Store(root=root), []

    def __call__(self, item):
        self.asked.append(item.name)
        return perform(self.store, item)


@pytest.fixture
def do(tmp_path):
    return Do(tmp_path)


def test_each_item_is_sent_what_was_done_of_it(do):
    first, second = drive(program(), do)

    assert (first.name, first.facts) == ("first", 3)
    assert (second.folder / "text").read_text() == "last of 3"


def test_items_are_done_in_the_order_in_which_they_are_asked_for(do):
    drive(program(), do)

    assert do.asked == ["find-text", "first", "find-last", "second"]


def test_progress_yields_the_finished_stages_alone(do):
    stages = list(progress(program(), do))

    assert [stage.name for stage in stages] == ["first", "second"]
    assert all(isinstance(stage, Stage) for stage in stages)


def test_progress_can_be_left_after_a_stage(do):
    stages = progress(program(), do)

    assert next(stages).name == "first"
    stages.close()
    assert do.asked == ["find-text", "first"]


def test_progress_returns_what_the_program_does(do):
    def outer():
        return (yield from progress(program(), do))

    stages = outer()
    for _ in range(2):
        next(stages)
    with pytest.raises(StopIteration) as end:
        next(stages)

    first, second = end.value.value
    assert (first.name, second.name) == ("first", "second")


def test_program_without_items_is_driven_to_its_end(do):
    def nothing():
        return 5
        yield

    assert drive(nothing(), do) == 5
    assert do.asked == []


def test_error_of_an_item_ends_the_program(do):
    def failing():
        yield from found(Lookup(name="missing", find=lambda: {}["x"]))
        yield from built(make("never"))

    with pytest.raises(KeyError):
        drive(failing(), do)

    assert do.asked == ["missing"]


def test_program_may_go_on_without_an_item_that_is_refused(do):
    def refuse():
        raise InputError("The item is refused.")

    def careful():
        try:
            yield from found(Lookup(name="refused", find=refuse))
        except InputError as error:
            said = str(error)
        stage = yield from built(make("next", said))
        return stage.facts

    assert drive(careful(), do) == 4
    assert do.asked == ["refused", "next"]


@pytest.mark.parametrize("error", [InputError, RuntimeError, KeyboardInterrupt])
def test_only_a_refusal_is_raised_in_the_program(do, error):
    seen = []

    def fail():
        raise error("no")

    def watching():
        try:
            yield from found(Lookup(name="failing", find=fail))
        except Exception as raised:
            seen.append(type(raised))
            raise

    with pytest.raises(error):
        drive(watching(), do)

    assert seen == ([InputError] if error is InputError else [])


def test_finished_stages_are_used_again(tmp_path):
    do = partial(perform, Store(root=tmp_path))

    drive(program(), do)
    again = drive(program(), do)

    assert [stage.reused for stage in again] == [True, True]


@pytest.fixture(scope="module")
def smoke(smoke_overrides):
    """The config of configs/smoke.toml."""
    return load_config(SMOKE, smoke_overrides)


def test_whole_chain_runs_with_a_store_alone(smoke_stages, smoke):
    assert [stage.name for stage in smoke_stages.all] == [
        "data",
        "head-only",
        "finetune",
        "absorb",
        "soft-targets",
        "distill",
        "export",
        "quantize",
        "evaluate",
        "benchmark",
    ]
    for stage in smoke_stages.all:
        for artifact in stage.artifacts:
            assert sha256_file(stage.folder / artifact.path) == artifact.sha256
    assert decide_run(smoke_stages, smoke.gate).passed


def test_tiny_stages_are_those_of_the_smoke_chain(
    smoke_stages, tiny_data, tiny_teacher, tiny_student, tiny_export, tiny_quantized
):
    """The store builds each of them once for both."""
    assert smoke_stages.data.folder == tiny_data.folder
    assert smoke_stages.teacher.folder == tiny_teacher.folder
    assert smoke_stages.student.folder == tiny_student.folder
    assert smoke_stages.exported.folder == tiny_export.folder
    assert smoke_stages.quantized.folder == tiny_quantized.folder


def test_equal_config_finds_the_whole_chain_finished(smoke_stages, smoke, tiny_store):
    again = drive(chain(smoke), partial(perform, tiny_store))

    assert all(stage.reused for stage in again.all)
    assert [stage.digest for stage in again.all] == [stage.digest for stage in smoke_stages.all]


def test_models_are_looked_up_before_anything_is_built(smoke):
    asked = []

    def do(item):
        asked.append(item.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return item.find()

    model = smoke.teacher.model
    adapter = {"from": model}  # any folder that is there
    teacher = smoke.teacher.model_validate({"model": model, "adapter": adapter})
    with pytest.raises(KeyboardInterrupt):
        drive(chain(smoke.model_copy(update={"teacher": teacher})), do)

    assert asked == ["find-model", "find-adapters", "data"]


@pytest.mark.slow  # the import contracts hold it too
def test_programs_are_imported_without_prefect():
    names = {"prefect", "flows"}
    code = f"import sys, {', '.join(PROGRAMS)}; print({names} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
