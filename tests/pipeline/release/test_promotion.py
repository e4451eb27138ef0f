import subprocess
import sys

import pytest

from pipeline.config import PromotionRule
from pipeline.errors import InputError
from pipeline.release.promotion import promote, roll_back
from pipeline.release.register import register


@pytest.fixture
def add(registry, write_run, tmp_path):
    """``add(**run)``: a new version of the student."""

    def add(**run):
        number = len(registry.versions("tiny")) + 1
        return register(registry, write_run(tmp_path / f"run-{number}", seed=number, **run))

    return add


def aliases(registry):
    names = ("champion", "challenger", "previous")
    return {name: number for name in names if (number := registry.alias("tiny", name))}


def test_the_challenger_becomes_champion(registry, add):
    add()

    promotion = promote(registry, "tiny")

    assert (promotion.champion, promotion.previous) == (1, None)
    assert aliases(registry) == {"champion": 1}
    assert "promoted_at" in registry.find("tiny", "1").tags


def test_the_old_champion_stays_as_previous(registry, add):
    add()
    promote(registry, "tiny")
    add()

    promotion = promote(registry, "tiny")

    assert (promotion.champion, promotion.previous) == (2, 1)
    assert aliases(registry) == {"champion": 2, "previous": 1}


def test_roll_back_again_goes_further_back_and_never_to_what_was_rolled_back_from(registry, add):
    for _ in range(3):
        add()
        promote(registry, "tiny")

    roll_back(registry, "tiny", "answers nonsense")
    assert aliases(registry) == {"champion": 2, "previous": 1}

    roll_back(registry, "tiny")
    assert aliases(registry) == {"champion": 1}
    assert "answers nonsense" in registry.find("tiny", "3").tags["rolled_back_from"]

    with pytest.raises(InputError, match="no previous champion"):
        roll_back(registry, "tiny")


def test_what_was_rolled_back_from_is_promoted_with_force_alone(registry, add):
    for _ in range(2):
        add()
        promote(registry, "tiny")
    roll_back(registry, "tiny", "answers nonsense")

    with pytest.raises(InputError, match=r"rolled back from \(.*answers nonsense.*--force"):
        promote(registry, "tiny", "2")

    assert promote(registry, "tiny", "2", force=True).champion == 2
    assert "rolled_back_from" not in registry.find("tiny", "2").tags
    assert roll_back(registry, "tiny").champion == 1


def test_the_same_student_registered_again_keeps_its_mark(registry, add, write_run, tmp_path):
    add()
    promote(registry, "tiny")
    add()
    promote(registry, "tiny")
    roll_back(registry, "tiny")
    register(registry, write_run(tmp_path / "run-again", seed=2))

    with pytest.raises(InputError, match="version 2, the same student as 3, was rolled back from"):
        promote(registry, "tiny", "3")


def test_force_does_not_promote_what_the_gate_refused(registry, add):
    add(checks=((0.5, 0.01),))

    with pytest.raises(InputError, match="Check 0"):
        promote(registry, "tiny", "1", force=True)


def test_roll_back_without_a_previous_champion_is_told(registry, add):
    add()
    promote(registry, "tiny")

    with pytest.raises(InputError, match="no previous champion"):
        roll_back(registry, "tiny")


def test_a_check_that_a_verdict_decided_is_not_held_against_one_of_its_numbers(registry, add):
    add(checks=((0.5, 0.01),), by_verdict=True)

    assert promote(registry, "tiny").champion == 1


def test_every_check_that_the_numbers_fail_is_a_reason_whatever_the_report_says(registry, add):
    add()
    promote(registry, "tiny")
    add(checks=((0.5, 0.01), (0.0, 0.01), (7.0, 1.0)))

    with pytest.raises(InputError) as refusal:
        promote(registry, "tiny", "2")

    assert "Check 0: 0.5 is over 0.01" in str(refusal.value)
    assert "Check 2: 7.0 is over 1.0" in str(refusal.value)
    assert "The champion is still version 1" in str(refusal.value)
    assert aliases(registry)["champion"] == 1


def test_a_student_that_is_surely_worse_than_the_champion_is_refused(registry, add):
    add(accuracy=0.9)
    promote(registry, "tiny")
    add(accuracy=0.8)

    with pytest.raises(InputError, match=r"-10\.00 points from the champion's"):
        promote(registry, "tiny")

    assert promote(registry, "tiny", rule=PromotionRule(max_champion_drop=0.15)).champion == 2


def test_a_student_that_cannot_be_compared_with_the_champion_is_refused(registry, add):
    add(accuracy=0.9)
    promote(registry, "tiny")
    add(accuracy=0.8, data="e" * 64)

    with pytest.raises(InputError, match=r"not compared with the champion, version 1.*--force"):
        promote(registry, "tiny")

    promotion = promote(registry, "tiny", force=True)
    assert promotion.champion == 2
    assert len(promotion.checks) == 1


def test_the_check_against_the_champion_is_one_of_the_promotion(registry, add):
    add()
    promote(registry, "tiny")
    add(accuracy=0.82)

    check = promote(registry, "tiny").checks[-1]

    assert check.name == "accuracy lost against the champion"
    assert check.value == pytest.approx(-0.02)
    assert check.interval[1] < 0


@pytest.mark.parametrize("path", ["onnx/model.onnx", "golden.json", "manifest.json", "sbom.json"])
def test_a_damaged_bundle_leaves_the_champion(registry, add, path):
    add()
    promote(registry, "tiny")
    folder = registry.fetch(add())
    (folder / path).write_bytes(b"damaged")

    with pytest.raises(InputError, match="The champion is still version 1"):
        promote(registry, "tiny")

    assert aliases(registry)["champion"] == 1


def test_the_champion_is_not_promoted_again(registry, add):
    add()
    promote(registry, "tiny")

    with pytest.raises(InputError, match="champion already"):
        promote(registry, "tiny", "1")


PROMOTE = """
import sys
from pathlib import Path
from pipeline.release.promotion import promote
from pipeline.release.registry import open_registry
registry = open_registry(None, Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
promote(registry, "tiny", sys.argv[2], expected_champion=1)
"""


def test_of_two_promotions_at_once_one_wins(registry, add, tmp_path):
    add()
    promote(registry, "tiny")
    add()
    add()

    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, str(tmp_path / "runs"), number],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in ("2", "3")
    ]
    for rival in rivals:
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:
        rival.stdin.write("go\n")
        rival.stdin.flush()
    errors = [rival.communicate()[1] for rival in rivals]

    assert sorted(rival.returncode for rival in rivals) == [0, 1]
    winner = 2 if rivals[0].returncode == 0 else 3
    assert aliases(registry)["champion"] == winner
    assert aliases(registry)["previous"] == 1
    assert "Another promotion was faster" in "".join(errors)
