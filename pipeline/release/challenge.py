"""Champion against challenger: the same held-out texts, a paired test, a decision with its reasons.

Both answer every text, so that only the texts on which exactly one of them is right tell them
apart. McNemar's exact test (1947, https://doi.org/10.1007/BF02295996) asks whether these are
split evenly; a paired bootstrap says how large the difference may be. The decision looks at the
interval alone, so that what is unproven does not pass for what is proven.

Shapes: N = texts, C = classes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field
from scipy import stats

from pipeline.artifacts import sha256_json, write_atomic
from pipeline.config import AdapterConfig, RunConfig, Section, TeacherConfig
from pipeline.errors import InputError
from pipeline.records import Interval
from pipeline.tables import Split, read_split

LAST = "last-challenge.json"
"""What the last retraining tried; it stands in ``runs_dir``."""
_SAMPLES = 2000


class ChallengeConfig(Section):
    """When a challenger takes the champion's place."""

    max_accuracy_loss: float = Field(default=0.01, ge=0, le=1)
    """The challenger must be surely no worse than this (0.01 is one point): the whole interval of
    the difference must lie above it. It has seen newer texts, so equal is enough."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of that interval."""

    min_texts: int = Field(default=20, ge=1)
    """Least number of texts held out of both; with fewer, the champion stays."""

    drift_level: float = Field(default=0.01, gt=0, lt=0.5)
    """Part of the unchanged sources that are reported as drifted all the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two models on the same texts."""

    texts: int
    champion_accuracy: float
    challenger_accuracy: float
    only_champion_right: int
    only_challenger_right: int
    p_value: float
    """McNemar's exact test, two-sided."""
    interval: Interval
    """Of challenger minus champion, by a paired bootstrap."""
    confidence: float

    @property
    def difference(self) -> float:
        """Challenger minus champion, in accuracy."""
        return self.challenger_accuracy - self.champion_accuracy


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Who is the champion from now on, and why."""

    replaces: bool
    reasons: tuple[str, ...]


def compare(
    champion: np.ndarray, challenger: np.ndarray, labels: np.ndarray, *, confidence: float
) -> Comparison:
    """Return how two models' logits, (N, C) each, do on the same labels, (N,)."""
    champion_right = champion.argmax(axis=1) == labels  # (N,)
    challenger_right = challenger.argmax(axis=1) == labels  # (N,)
    gains = challenger_right.astype(np.int64) - champion_right  # (N,), each -1, 0 or 1
    lost, won = int((gains < 0).sum()), int((gains > 0).sum())
    rows = np.random.default_rng(0).integers(len(gains), size=(_SAMPLES, len(gains)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(gains[rows].mean(axis=1), [tail, 100 - tail])
    return Comparison(
        texts=len(labels),
        champion_accuracy=float(champion_right.mean()),
        challenger_accuracy=float(challenger_right.mean()),
        only_champion_right=lost,
        only_challenger_right=won,
        p_value=float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0,
        interval=(float(low), float(high)),
        confidence=confidence,
    )


def choose(
    comparison: Comparison | None, *, passed: bool, is_first: bool, rule: ChallengeConfig
) -> Choice:
    """Decide whether the challenger replaces the champion.

    Args:
        comparison: None where no text is held out of both.
        passed: What the gate said of the challenger.
        is_first: Whether there is no champion yet.
        rule: The thresholds.
    """
    against = [] if passed else ["The gate refused the challenger."]
    if is_first:
        return Choice(replaces=passed, reasons=tuple(against) or ("There was no champion before.",))
    if comparison is None:
        return Choice(replaces=False, reasons=(*against, "No text is held out of both."))
    low, high = comparison.interval
    if comparison.texts < rule.min_texts:
        against.append(
            f"Only {comparison.texts} texts are held out of both; rule.min_texts asks for "
            f"{rule.min_texts}."
        )
    span = f"{100 * low:+.2f} to {100 * high:+.2f} points ({comparison.confidence:.0%})"
    if low < -rule.max_accuracy_loss:
        against.append(
            f"The challenger's accuracy differs by {span}: a loss of more than "
            f"{100 * rule.max_accuracy_loss:.2f} points cannot be ruled out."
        )
    return Choice(
        replaces=not against,
        reasons=tuple(against)
        or (f"It has seen the newer texts, and its accuracy differs by {span}.",),
    )


def held_out_of_both(champion: Path, challenger: Path) -> Split:
    """Return the challenger's test texts that the champion was not trained on.

    Args:
        champion: The folder of the champion's data stage.
        challenger: The same of the challenger.
    """
    seen = {text for name in ("train", "validation") for text in read_split(champion, name).texts}
    test = read_split(challenger, "test")
    rows = [row for row, text in enumerate(test.texts) if text not in seen]
    return Split(texts=tuple(test.texts[row] for row in rows), labels=test.labels[rows])


def config_digest(config: RunConfig) -> str:
    """Return the sha256 of what a config asks for, wherever it is written and started from."""
    tree = config.model_dump(mode="json", exclude={"runs_dir": True, "teacher": {"start"}})
    return sha256_json(tree)


def nothing_changed(config: RunConfig, data: str, champion: Path | None) -> bool:
    """Tell whether champion or last challenger was made of this config and these texts.

    Args:
        config: What a retraining would run.
        data: Digest of its texts.
        champion: Folder of the champion's run.
    """
    asked = (config_digest(config), data)
    if champion is not None and asked == _made_of(champion):
        return True
    last = config.runs_dir / LAST
    return last.is_file() and last.read_text("utf-8") == _challenge(config, data, champion)


def remember_challenge(config: RunConfig, data: str, champion: Path | None) -> None:
    """Note what was tried against which champion, so that it is not tried again."""
    write_atomic(config.runs_dir / LAST, _challenge(config, data, champion))


def warm_start(config: RunConfig, champion: Path | None) -> TeacherConfig:
    """Return the teacher's config, starting at the champion's adapters where they fit."""
    if champion is None:
        return config.teacher
    before = _read_config(champion)
    is_same_shape = (before.teacher.model, before.teacher.adapter, before.data.labels) == (
        config.teacher.model,
        config.teacher.adapter,
        config.data.labels,
    )
    is_trained_here = isinstance(config.teacher.adapter, AdapterConfig)  # imported ones are not
    if not is_same_shape or not is_trained_here or config.teacher.start is not None:
        return config.teacher
    return config.teacher.model_copy(update={"start": str((champion / "finetune").resolve())})


def _challenge(config: RunConfig, data: str, champion: Path | None) -> str:
    return json.dumps([config_digest(config), data, champion.name if champion else None])


def _made_of(folder: Path) -> tuple[str, str]:
    """Return the digests of a finished run's config and texts."""
    report = json.loads((folder / "report.json").read_text("utf-8"))
    return config_digest(_read_config(folder)), report["data"]["digest"]


def _read_config(folder: Path) -> RunConfig:
    """Return the config of a finished run.

    Raises:
        InputError: when it has none that can be read.
    """
    try:
        return RunConfig.model_validate_json((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} has no readable config.json: {error}. Name another run the champion."
        ) from error
