"""Removal from generated runs folders, against an oracle that built them."""

import json
import os
import random
import shutil
from datetime import UTC, datetime

import pytest
from filelock import FileLock

from pipeline.errors import InputError
from pipeline.release.challenge import LAST
from pipeline.release.history import note_champion
from pipeline.release.marks import REFUSED, mark
from pipeline.retention import collection
from pipeline.retention.collection import collect
from pipeline.retention.settings import Retention

NOW, DAY = 1_800_000_000.0, 86400.0
KINDS = ("data", "head-only", "finetune", "soft-targets", "distill")


class World:
    """A runs folder, and what of it is needed by whom."""

    def __init__(self, root, registry=None, seed=0):
        self.root, self.registry, self.random = root, registry, random.Random(seed)
        self.ages, self.uses, self.roots, self.student = {}, {}, set(), {}
        (root / ".stages").mkdir(parents=True, exist_ok=True)

    def stage(self, age, *, kind=None, used=None):
        name = f"{kind or self.random.choice(KINDS)}-{self.random.getrandbits(96):024x}"
        folder = self.root / ".stages" / name
        folder.mkdir()
        (folder / "model.bin").write_bytes(b"x" * 100)
        write_at(folder / "record.json", "{}", age)
        write_at(folder.with_name(f".{name}.lock"), "", used or age)
        self.ages[name] = min(age, used or age)
        return name

    def run(self, student, age, stages=(), config=None, mentions=()):
        made = datetime.fromtimestamp(NOW - age * DAY, UTC)
        name = f"{made:%Y%m%d-%H%M%S}-{student}"
        folder = self.root / name
        folder.mkdir()
        for number, stage in enumerate(stages):
            (folder / f"stage{number}").symlink_to(f"../.stages/{stage}")
        (folder / "report.json").write_text(json.dumps({"run_id": name, "name": student}))
        (folder / "config.json").write_text(json.dumps(config or {}))
        self.ages[name], self.student[name] = age, student
        self.uses[name] = {*stages, *mentions}
        return name

    def partial(self, name, age):
        folder = self.root / name
        (folder / "scratch").mkdir(parents=True)
        write_at(folder / "scratch" / "checkpoint", "x", age)
        for path in (folder / "scratch", folder):
            at(path, age)
        self.ages[folder.name] = age

    def register(self, run):
        client, name = self.registry.client, self.student[run]
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        made = client.create_model_version(name, f"/nowhere/{run}", tags={"run_id": run})
        return int(made.version)

    def needed(self, days, newest):
        by_student = {}
        for run, student in self.student.items():
            by_student.setdefault(student, []).append(run)
        waiting = self.roots | {name for name, age in self.ages.items() if age <= days}
        for runs in by_student.values():
            waiting |= set(sorted(runs)[-newest:])
        found = set()
        while waiting:
            each = waiting.pop()
            found.add(each)
            waiting |= self.uses.get(each, set()) - found
        return found

    def there(self):
        return {path.name for path in (*self.root.iterdir(), *(self.root / ".stages").iterdir())}


def at(path, age):
    os.utime(path, (NOW - age * DAY,) * 2)


def write_at(path, text, age):
    path.write_text(text)
    at(path, age)


def generated(root, registry, seed):
    """A random runs folder of two students with a registry, links and retrainings."""
    world, chance = World(root, registry, seed), random.Random(seed)
    age = lambda: chance.randint(1, 90) + 0.5  # noqa: E731
    stages = [world.stage(age(), used=chance.choice([None, 0.5])) for _ in range(6)]
    stages += [world.stage(age()) for _ in range(24)]
    ages = chance.sample(range(1, 90), 12)
    for number, days in enumerate(ages):
        mentioned = chance.choice([None, *stages, *world.student])
        config = {"teacher": {"start": f"/elsewhere/runs/.stages/{mentioned}"}} if mentioned else {}
        student = ("small", "large-2")[number % 2]
        mine = chance.sample(stages, 3)
        world.run(student, days + 0.25, mine, config, {mentioned} - {None})
    for student in ("small", "large-2"):
        release(world, student, chance)
    for name, kind in (("latest", world.student), ("small.distill", stages), ("deep", stages)):
        target = chance.choice(list(kind))
        place = root / name if name != "deep" else root / "small-sweep" / "picked"
        place.parent.mkdir(exist_ok=True)
        below = "" if target in world.student else ".stages/"
        place.symlink_to(os.path.relpath(root / f"{below}{target}", place.parent))
        world.roots.add(target)
    (root / "small-sweep" / "sweep.json").write_text("{}")
    champion = chance.choice(list(world.student))
    (root / LAST).write_text(json.dumps(["digest", "data", champion]))
    world.roots.add(champion)
    for number in range(4):
        world.partial(f".stages/distill-{number:024x}.partial", age())
        world.partial(f".20250101-00000{number}-small.ab{number}.partial", age())
    return world


def release(world, student, chance):
    """Register most runs of a student; name a champion with a past, and other aliases."""
    mine = [run for run, of in world.student.items() if of == student]
    registered = chance.sample(mine, 5)
    numbers = {run: world.register(run) for run in registered}
    champions = chance.sample(registered, 3)
    before = None
    for run in champions:
        note_champion(world.registry, student, numbers[run], before=before)
        world.registry.point(student, "champion", numbers[run])
        before = numbers[run]
    bad = champions[0]
    mark(world.registry, world.registry.find(student, str(numbers[bad])), REFUSED, "")
    staging = chance.choice(registered)
    world.registry.point(student, "staging", numbers[staging])
    world.roots |= {*champions[1:], staging}


def snapshot(root):
    return {
        path: (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in root.rglob("*")
        if "mlflow.db" not in path.name and "mlartifacts" not in path.parts
    }


def asked(root, **changed):
    return Retention(runs_dir=root, keep_runs=2, **changed)


def gone(removal):
    return {each.path.name for each, _ in removal.gone}


@pytest.mark.parametrize("seed", range(4))
def test_nothing_needed_is_removed_and_everything_else_that_is_old_is(registry, tmp_path, seed):
    root = tmp_path / "runs"
    world = generated(root, registry, seed)
    expected = set(world.ages) - world.needed(30, 2)
    before, there = snapshot(root), world.there()

    planned = collect(asked(root), NOW)

    assert gone(planned) == expected
    assert snapshot(root) == before

    removed = collect(asked(root, remove=True), NOW)

    assert gone(removed) == expected
    assert there - world.there() == expected
    assert not [path for path in root.rglob("*") if path.is_symlink() and not path.exists()]
    assert gone(collect(asked(root), NOW)) == set()


@pytest.fixture
def world(registry, tmp_path):
    """A runs folder with an old run that nothing needs, and a registered one that is new."""
    world = World(tmp_path / "runs", registry)
    world.old_stage = world.stage(60)
    world.old = world.run("tiny", 60, [world.old_stage])
    for age in (1, 2):
        world.new = world.run("tiny", age, [world.stage(age)])
    world.register(world.new)
    return world


def test_finished_stages_stay_while_a_stage_is_built(world):
    world.partial(".stages/distill-000000000000000000000001.partial", 60)

    with FileLock(world.root / ".stages" / ".distill-000000000000000000000001.lock"):
        removed = collect(asked(world.root, remove=True), NOW)

    assert gone(removed) == {world.old}
    assert gone(collect(asked(world.root), NOW)) == {
        world.old_stage,
        "distill-000000000000000000000001.partial",
    }


def test_old_stage_that_a_run_took_again_lately_stays(world):
    used = world.stage(60, used=1)

    assert used not in gone(collect(asked(world.root, remove=True), NOW))


def test_what_is_unknown_is_named_and_stays(world):
    for name in ("notes.txt", ".stages/notes.txt"):
        (world.root / name).write_text("x")
    no_report = world.root / "20200101-000000-tiny"
    no_record = world.root / ".stages" / f"distill-{1:024x}"
    for folder in (no_report, no_record):
        folder.mkdir()
    (no_report / "link").symlink_to(f"../.stages/{world.old_stage}")

    removed = collect(asked(world.root, remove=True), NOW)

    assert {path.name for path in removed.unknown} == {
        "notes.txt",
        no_report.name,
        no_record.name,
    }
    assert gone(removed) == {world.old}
    assert no_report.is_dir()
    assert no_record.is_dir()


def test_bundle_that_a_kept_stage_shares_is_not_counted_as_freed(world):
    kept = world.root / world.new / "stage0"
    os.link(kept / "model.bin", world.root / world.old / "model.bin")

    planned = collect(asked(world.root), NOW)

    assert planned.freed_bytes == sum(size for _, size in planned.gone) - 100


def test_registry_that_cannot_be_read_leaves_everything(world):
    (world.root / "mlflow.db").write_bytes(b"garbage" * 99)
    before = snapshot(world.root)

    with pytest.raises(InputError, match="Nothing was removed"):
        collect(asked(world.root, remove=True), NOW)

    assert snapshot(world.root) == before


def test_missing_registry_is_refused_and_not_created(world):
    (world.root / "mlflow.db").unlink()

    with pytest.raises(InputError, match="no registry was given"):
        collect(asked(world.root, remove=True), NOW)

    assert not (world.root / "mlflow.db").exists()
    assert (world.root / world.old).is_dir()


def test_registry_that_knows_no_run_is_refused(world, empty_registry_file):
    shutil.copy(empty_registry_file, world.root / "mlflow.db")

    with pytest.raises(InputError, match="knows none of the 3 runs"):
        collect(asked(world.root, remove=True), NOW)


def test_registry_that_a_runs_config_names_is_read_too(world, tmp_path):
    other = f"sqlite:///{tmp_path / 'gone.db'}"
    world.run("tiny", 61, config={"release": {"registry": other}})

    with pytest.raises(InputError, match=r"gone\.db is missing"):
        collect(asked(world.root, remove=True), NOW)


def test_runs_that_are_never_registered_need_no_registry(tmp_path):
    world = World(tmp_path / "runs")
    runs = [
        world.run("tiny", age, config={"release": {"register_run": False}}) for age in (60, 61, 62)
    ]

    assert gone(collect(asked(world.root, remove=True), NOW)) == {runs[-1]}


def test_crash_leaves_whole_folders_and_the_next_removal_goes_on(world, monkeypatch):
    class KilledError(BaseException):
        pass

    def killed(*_arguments, **_options):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(collection.shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            collect(asked(world.root, remove=True), NOW)

    assert not (world.root / world.old).exists()
    assert gone(collect(asked(world.root), NOW)) == {".removed.partial"}

    collect(asked(world.root, remove=True), NOW)

    assert not list(world.root.rglob(".removed.partial"))


def test_second_removal_at_the_same_time_is_refused(world):
    with (
        FileLock(world.root / ".gc.lock"),
        pytest.raises(InputError, match="Something else removes"),
    ):
        collect(asked(world.root, remove=True), NOW)


def test_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a folder of runs"):
        collect(asked(tmp_path), NOW)
