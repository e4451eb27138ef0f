"""Random promotions and roll backs against a list of what the history must be.

A model of a few lines keeps the champion, the ones before it and the marks. Any call may break off
between two of its writes, as a killed process does. Then the alias ``champion`` says which of the
two states holds. Everything else must agree with it from then on.
"""

import contextlib
import dataclasses
import random

import pytest

from pipeline.errors import InputError
from pipeline.release.history import CHAMPIONS, former_champions
from pipeline.release.promotion import promote, roll_back
from pipeline.release.register import register

WRITES = ("set_", "delete_")


class Killed(BaseException):
    """The end of a process in the middle of its work."""


class DyingClient:
    """MLflow's client, until so many writes are done."""

    def __init__(self, client, writes):
        self.client, self.left = client, writes

    def __getattr__(self, name):
        found = getattr(self.client, name)
        if not name.startswith(WRITES):
            return found

        def write(*args, **more):
            if self.left == 0:
                raise Killed(name)
            self.left -= 1
            return found(*args, **more)

        return write


@dataclasses.dataclass
class Expected:
    """The champion, the champions before it, and the bad versions."""

    champion: int | None = None
    past: list[int] = dataclasses.field(default_factory=list)
    bad: set[int] = dataclasses.field(default_factory=set)

    def former(self):
        each_once = list(dict.fromkeys(reversed(self.past)))[::-1]
        return [each for each in each_once if each not in self.bad and each != self.champion]

    def promote(self, number):
        if self.champion is not None:
            self.past.append(self.champion)
        self.champion = number
        self.bad.discard(number)

    def roll_back(self):
        self.bad.add(self.champion)
        while self.past:
            self.champion = self.past.pop()
            if self.champion not in self.bad:
                return


def marked(registry):
    return {v.number for v in registry.versions("tiny") if "rolled_back_from" in v.tags}


def act(registry, expected, chance, numbers):
    """Promote or roll back, perhaps up to the middle; return what it was for the test's message."""
    dies_after = chance.choice([None, None, 0, 1, 2, 3])
    dying = registry
    if dies_after is not None:
        dying = dataclasses.replace(registry, client=DyingClient(registry.client, dies_after))
    before = expected.champion
    if chance.random() < 0.45:
        what, possible = "roll back", bool(expected.former())
        with contextlib.suppress(Killed), refused_unless(possible):
            roll_back(dying, "tiny")
        moved = registry.alias("tiny", "champion") != before
        if possible and moved:
            expected.roll_back()
    else:
        number, force = chance.choice(numbers), chance.random() < 0.3
        what = f"promote {number}{' with force' if force else ''}"
        possible = number != before and (force or number not in expected.bad)
        with contextlib.suppress(Killed), refused_unless(possible):
            promote(dying, "tiny", str(number), force=force)
        if possible and registry.alias("tiny", "champion") != before:
            expected.promote(number)
    if dies_after is not None:  # a mark that was written before the end, or not removed, stays
        expected.bad = marked(registry)
    return f"{what}, {'whole' if dies_after is None else f'dies after {dies_after} writes'}"


@contextlib.contextmanager
def refused_unless(possible):
    if possible:
        yield
        return
    with pytest.raises((InputError, Killed)):
        yield


@pytest.mark.parametrize(
    ("seed", "calls"),
    [(2, 12), *(pytest.param(seed, 40, marks=pytest.mark.slow) for seed in range(5))],
)
def test_random_promotions_and_roll_backs_keep_the_right_history(
    registry, write_run, tmp_path, seed, calls
):
    chance, expected, done = random.Random(seed), Expected(), []
    numbers = [
        register(registry, write_run(tmp_path / f"run-{number}", seed=number)).number
        for number in range(4)
    ]

    for _ in range(calls):
        done.append(act(registry, expected, chance, numbers))

        assert registry.alias("tiny", "champion") == expected.champion, done
        assert marked(registry) == expected.bad, done
        found = former_champions(registry, "tiny", expected.champion)
        assert list(found) == expected.former(), done


def forget(registry, *tags):
    """Leave a registry as an earlier version wrote it."""
    with contextlib.suppress(Exception):
        registry.client.delete_registered_model_tag("tiny", CHAMPIONS)
    for version in registry.versions("tiny"):
        for tag in set(tags) & set(version.tags):
            registry.untag(version, tag)


@pytest.mark.parametrize("tags", [(), ("promoted_at",)])
def test_registry_of_an_earlier_version_is_rolled_back_and_promoted_on(
    registry, write_run, tmp_path, tags
):
    for number in (1, 2):
        register(registry, write_run(tmp_path / f"run-{number}", seed=number))
        promote(registry, "tiny", str(number))
    register(registry, write_run(tmp_path / "run-3", seed=3))
    forget(registry, *tags)

    assert roll_back(registry, "tiny").champion == 1
    assert promote(registry, "tiny", "3").previous == 1
    assert roll_back(registry, "tiny").champion == 1


def test_deleted_version_is_passed_over(registry, write_run, tmp_path):
    for number in (1, 2, 3):
        register(registry, write_run(tmp_path / f"run-{number}", seed=number))
        promote(registry, "tiny", str(number))
    registry.client.delete_model_version("tiny", "2")

    assert roll_back(registry, "tiny").champion == 1


def test_champion_that_was_set_by_hand_has_all_others_before_it(registry, write_run, tmp_path):
    for number in (1, 2, 3):
        register(registry, write_run(tmp_path / f"run-{number}", seed=number))
    promote(registry, "tiny", "1")
    promote(registry, "tiny", "2")
    registry.point("tiny", "champion", 3)

    assert former_champions(registry, "tiny", 3) == (1, 2)
