import numpy as np
import pytest

from pipeline.config import ComputeConfig, RunConfig
from pipeline.release.challenge import (
    ChallengeConfig,
    choose_champion,
    config_digest,
    go_on_from,
    nothing_changed,
    remember_challenge,
)
from pipeline.statistics.paired import compare_paired
from pipeline.store.files import write_atomic
from pipeline.tasks.classification import CLASSIFICATION as TASK

LABELS = np.array([0, 1] * 50)


def logits(right):
    """Return logits that are right on the first so many texts, and wrong on the others."""
    answers = np.where(np.arange(len(LABELS)) < right, LABELS, 1 - LABELS)
    return np.eye(2)[answers]


def decide(paired, *, passed, is_first=False, rule=None):
    return choose_champion(
        paired,
        metric="accuracy",
        passed=passed,
        is_first=is_first,
        rule=rule or ChallengeConfig(),
    )


def make_config(tmp_path, **teacher):
    data = {"train": "reviews.csv", "labels": ["no", "yes"]}
    return RunConfig(runs_dir=tmp_path, data=data, teacher={"model": "bert", **teacher})


@pytest.fixture
def champion(tmp_path):
    """The folder of a finished run, as far as a challenge reads it."""
    folder = tmp_path / "champion-run"
    folder.mkdir()
    write_atomic(folder / "config.json", make_config(tmp_path).model_dump_json())
    write_atomic(folder / "report.json", '{"data": {"texts_digest": "texts"}}')
    return folder


@pytest.mark.parametrize(
    ("right", "passed", "rule", "replaces", "reason"),
    [
        (90, True, {}, True, "seen the newer texts"),
        (90, False, {}, False, "gate refused"),
        (80, True, {}, False, "must be ruled out"),
        (80, True, {"max_metric_loss": 0.5}, True, "seen the newer texts"),
        (90, True, {"min_texts": 101}, False, "Only 100 texts"),
    ],
)
def test_challenger_replaces_what_it_is_surely_no_worse_than(right, passed, rule, replaces, reason):
    found = compare_paired(
        logits(90),
        logits(right),
        LABELS,
        metrics=TASK.metrics,
        errors=TASK.errors,
        confidence=0.95,
    )
    choice = decide(found, passed=passed, rule=ChallengeConfig(**rule))

    assert choice.replaces == replaces
    assert reason in " ".join(choice.reasons)


def test_old_name_of_the_accepted_loss_is_read():
    assert ChallengeConfig(max_accuracy_loss=0.5) == ChallengeConfig(max_metric_loss=0.5)


@pytest.mark.parametrize("passed", [True, False])
def test_first_student_only_needs_the_gate(passed):
    assert decide(None, passed=passed, is_first=True).replaces == passed


def test_without_common_held_out_texts_the_champion_stays():
    assert not decide(None, passed=True).replaces


def test_same_texts_and_config_are_nothing_new(tmp_path, champion):
    config = make_config(tmp_path)

    assert nothing_changed(config, "texts", champion)
    assert not nothing_changed(config, "other texts", champion)
    assert not nothing_changed(config.model_copy(update={"seed": 1}), "texts", champion)
    assert not nothing_changed(config, "texts", None)


def test_refused_challenger_is_not_trained_again(tmp_path, champion):
    config = make_config(tmp_path)
    remember_challenge(config, "other texts", champion)

    assert nothing_changed(config, "other texts", champion)
    assert not nothing_changed(config, "yet other texts", champion)


def test_challenger_takes_adapters_of_the_same_shape_only(tmp_path, champion):
    same = make_config(tmp_path)
    other = make_config(tmp_path, adapter={"bottleneck_size": 3})

    assert go_on_from(champion, same).teacher.start == str(champion / "finetune")
    assert go_on_from(champion, other).teacher == other.teacher


def test_challenger_keeps_the_champions_splits_and_what_its_config_says(tmp_path, champion):
    config = make_config(tmp_path)
    data = config.data.model_copy(update={"splits_of": "elsewhere"})

    assert go_on_from(champion, config).data.splits_of == str(champion / "data")
    assert go_on_from(champion, config.model_copy(update={"data": data})).data == data


def test_where_a_config_starts_and_writes_is_no_part_of_its_digest(tmp_path):
    config = make_config(tmp_path)
    elsewhere = make_config(tmp_path / "elsewhere", start="somewhere")
    data = elsewhere.data.model_copy(update={"splits_of": "somewhere"})
    elsewhere = elsewhere.model_copy(update={"data": data})

    assert config_digest(config) == config_digest(elsewhere)


@pytest.mark.parametrize(
    "where",
    [
        {"pools": {"finetune": "gpu"}},
        {"shared_stages": "s3://bucket/stages"},
        {"compute": ComputeConfig(device="cuda", processes=4)},
    ],
)
def test_where_a_config_is_built_is_no_part_of_its_digest(tmp_path, where):
    config = make_config(tmp_path)

    assert config_digest(config.model_copy(update=where)) == config_digest(config)
