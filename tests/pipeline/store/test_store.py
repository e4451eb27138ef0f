import json
import logging
import os
from dataclasses import dataclass

import pytest

from pipeline.config import AdapterConfig
from pipeline.store.stage import RECORD, Stage
from pipeline.store.step import step
from pipeline.store.store import SCRATCH, Store, lock_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    size: int
    names: tuple[str, ...] = ("a", "b")
    adapter: AdapterConfig | None = None
    loss: float | None = None


FACTS = Facts(size=5, adapter=AdapterConfig(bottleneck_size=8))


class Builder:
    """Fills a folder; remembers what was in it before each build."""

    def __init__(self):
        self.found = []

    def __call__(self, folder):
        self.found.append(sorted(path.name for path in folder.iterdir()))
        (folder / "weights").mkdir(exist_ok=True)
        (folder / "weights" / "model.bin").write_bytes(b"12345")
        (folder / "labels.txt").write_text("one")
        return FACTS


@pytest.fixture
def store(tmp_path):
    return Store(root=tmp_path / "stages")


@pytest.fixture
def builder():
    return Builder()


def ensure(store, build, *inputs, settings=None, again=False):
    """Return the stage that ``build(folder)`` fills."""

    def fill(*given):
        return build(given[-1])

    settings = {"seed": 0} if settings is None else settings
    return store.ensure(step("demo", fill, *inputs, settings=settings, facts=Facts, again=again))


def stage(digest):
    return Stage(
        name="data", folder=None, digest=digest, facts=None, artifacts=(), seconds=0, reused=False
    )


def test_stage_is_built_once(store, builder):
    first = ensure(store, builder)
    second = ensure(store, builder)

    assert builder.found == [[]]
    assert (first.reused, second.reused) == (False, True)


def test_time_of_a_stages_lock_is_that_of_its_last_use(store, builder):
    lock = lock_of(ensure(store, builder).folder)
    os.utime(lock, (0, 0))

    ensure(store, builder)

    assert lock.stat().st_mtime > 0


def test_stage_that_was_built_elsewhere_is_found_by_its_folder_and_counts_as_used(store, builder):
    built = ensure(store, builder, settings={"machine": "another"})
    here = step("demo", builder, settings={"machine": "this"}, facts=Facts)
    os.utime(lock_of(built.folder), (0, 0))

    found = store.find(here, built.folder.name)

    assert (found.digest, found.reused) == (built.digest, True)
    assert lock_of(built.folder).stat().st_mtime > 0
    assert store.find(here) is None


@pytest.mark.parametrize("name", ["../stages/{}", "{}/weights", "/etc", "..", "data-1"])
def test_folder_that_is_no_stage_of_that_name_in_the_store_is_not_found(store, builder, name):
    built = ensure(store, builder)
    here = step("demo", builder, settings={}, facts=Facts)

    assert store.find(here, name.format(built.folder.name)) is None


def test_reused_stage_equals_the_built_one(store, builder):
    first = ensure(store, builder)
    second = ensure(store, builder)

    assert second.facts == first.facts == FACTS
    assert second.digest == first.digest
    assert second.folder == first.folder
    assert second.artifacts == first.artifacts


def test_record_holds_facts_and_digests_under_relative_paths(store, builder):
    built = ensure(store, builder)

    record = json.loads((built.folder / RECORD).read_text())

    assert record["stage"] == "demo"
    assert record["facts"]["size"] == 5
    assert [entry["path"] for entry in record["artifacts"]] == ["labels.txt", "weights/model.bin"]
    assert str(store.root) not in json.dumps(record)


def test_moved_store_is_used_again(store, builder, tmp_path):
    ensure(store, builder)
    store.root.rename(tmp_path / "moved")

    found = ensure(Store(root=tmp_path / "moved"), builder)

    assert found.reused
    assert len(builder.found) == 1


def change_byte(folder):
    (folder / "weights" / "model.bin").write_bytes(b"12346")


def remove_file(folder):
    (folder / "labels.txt").unlink()


def add_file(folder):
    (folder / "extra.txt").touch()


def rename_file(folder):
    (folder / "labels.txt").rename(folder / "names.txt")


@pytest.mark.parametrize("damage", [change_byte, remove_file, add_file, rename_file])
def test_changed_files_are_built_again(store, builder, caplog, damage):
    built = ensure(store, builder)
    damage(built.folder)

    with caplog.at_level(logging.WARNING):
        again = ensure(store, builder)

    assert not again.reused
    assert again.artifacts == built.artifacts
    assert again.digest == built.digest
    assert builder.found == [[], []]
    assert "do not match its record" in caplog.text


@pytest.mark.parametrize("content", ["", '{"stage": "de', "{}"])
def test_broken_record_is_built_again(store, builder, content):
    built = ensure(store, builder)
    (built.folder / RECORD).write_text(content)

    again = ensure(store, builder)

    assert not again.reused
    assert again.digest == built.digest


def test_killed_build_leaves_its_scratch_to_the_next_and_nothing_else(store, builder):
    def killed(folder):
        (folder / SCRATCH).mkdir()
        (folder / "weights").mkdir()
        (folder / f".{RECORD}.zmidk38o").write_text("half")  # of an atomic write
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(store, killed)
    (partial,) = [path for path in store.root.iterdir() if path.is_dir()]
    built = ensure(store, builder)

    assert partial.name.endswith(".partial")
    assert builder.found == [[SCRATCH]]
    assert not partial.exists()
    assert not any(entry.path.startswith(".") for entry in built.artifacts)


def test_stage_can_be_read_by_every_user(store):
    def build(folder):
        (folder / "model.bin").touch(mode=0o600)
        return FACTS

    built = ensure(store, build)

    assert (built.folder / "model.bin").stat().st_mode & 0o777 == 0o644


def test_failed_build_is_not_a_finished_stage(store, builder):
    def failing(folder):
        (folder / "weights").mkdir()
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        ensure(store, failing)

    assert not ensure(store, builder).reused


def test_scratch_is_for_the_build_alone(store):
    found = []

    def build(folder):
        found.append((folder / SCRATCH / "checkpoint").exists())
        (folder / SCRATCH).mkdir(exist_ok=True)
        (folder / SCRATCH / "checkpoint").touch()
        if len(found) == 1:
            raise KeyboardInterrupt
        (folder / "model.bin").touch()
        return Facts(size=0)

    with pytest.raises(KeyboardInterrupt):
        ensure(store, build)
    built = ensure(store, build)

    assert found == [False, True]
    assert [entry.path for entry in built.artifacts] == ["model.bin"]
    assert sorted(path.name for path in built.folder.iterdir()) == ["model.bin", RECORD]


@pytest.mark.parametrize(
    ("inputs", "settings"),
    [
        ((), {"seed": 1}),
        ((), {"seed": 0, "adapter": AdapterConfig()}),
        ((stage("d" * 64),), {"seed": 0}),
    ],
    ids=["setting", "new setting", "input"],
)
def test_changed_setting_or_input_is_another_stage(store, builder, inputs, settings):
    first = ensure(store, builder)

    second = ensure(store, builder, *inputs, settings=settings)

    assert len(builder.found) == 2
    assert second.folder != first.folder
    assert first.folder.is_dir()


def test_folder_is_named_by_the_steps_name_and_key(store, builder):
    made = step("demo", lambda _, folder: builder(folder), settings={"seed": 0}, facts=Facts)

    assert store.ensure(made).folder == store.root / f"demo-{made.key}"


def test_builds_run_where_the_builder_says(builder, tmp_path):
    asked = []

    def elsewhere(name, build, folder):
        asked.append(name)
        return build(folder)

    store = Store(root=tmp_path, builder=elsewhere)
    ensure(store, builder)
    ensure(store, builder)

    assert asked == ["demo"]


def test_digest_depends_on_facts_and_files(store):
    def build(size, content):
        def fill(folder):
            (folder / "file").write_text(content)
            return Facts(size=size)

        return fill

    digests = {
        ensure(store, build(size, content), settings={"case": [size, content]}).digest
        for size, content in ((1, "a"), (1, "b"), (2, "a"))
    }

    assert len(digests) == 3


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1 / 3])
def test_facts_with_odd_numbers_are_reused(store, loss):
    built = ensure(store, lambda _: Facts(size=0, loss=loss))

    again = ensure(store, lambda _: Facts(size=1))

    assert again.reused
    assert again.facts.loss == pytest.approx(loss, rel=0, nan_ok=True)
    assert again.digest == built.digest


def test_measurement_can_be_made_again(store, builder):
    first = ensure(store, builder)

    again = ensure(store, builder, again=True)

    assert builder.found == [[], []]
    assert not again.reused
    assert again.folder == first.folder
    assert ensure(store, builder).reused


def test_what_a_stage_says_is_logged_when_it_is_built_and_when_it_is_used_again(
    store, builder, caplog
):
    caplog.set_level(logging.INFO)
    said = step(
        "demo",
        lambda _, folder: builder(folder),
        settings={},
        facts=Facts,
        said=lambda facts: (f"{facts.size} rows",),
    )

    store.ensure(said)
    store.ensure(said)

    assert len(builder.found) == 1
    assert caplog.messages.count("5 rows") == 2
