"""Champion against challenger: the same held-out texts, a paired test, a decision with its reasons.

The decision looks at the whole interval of their difference, so that nothing unproven passes as
proven. The champion serves already, and a challenger must earn its place.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, TypeAdapter, model_validator

from pipeline.config import AdapterConfig, RunConfig, Section
from pipeline.config.section import accept_old_name
from pipeline.decisions.check import Check, failures
from pipeline.decisions.quality import against_champion
from pipeline.facts.paired import Paired
from pipeline.store.digests import sha256_json
from pipeline.store.files import write_atomic
from pipeline.store.json_files import read_json

LAST = "last-challenge.json"
"""File in ``runs_dir`` with the attempt of the last retraining."""
_OTHER_RUN = "Name another run the champion."


class ChallengeConfig(Section):
    """When a challenger takes the champion's place."""

    max_metric_loss: float = Field(default=0.01, ge=0, le=1)
    """Largest accepted loss of the main metric against the champion (0.01 is one point). The whole
    interval of the difference must be better. An equal challenger wins, as it has seen newer
    texts."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the interval of the difference."""

    min_texts: int = Field(default=20, ge=1)
    """Fewest texts that neither was trained on; with fewer, the champion stays."""

    drift_level: float = Field(default=0.01, gt=0, lt=0.5)
    """Significance level of the drift tests, all of them together."""

    _old_name = model_validator(mode="before")(
        accept_old_name("max_accuracy_loss", "max_metric_loss")
    )


class _Texts(BaseModel):
    texts_digest: str = ""


class _MadeOf(BaseModel):
    """Part of a finished run's report that is read here."""

    data: _Texts


_CONFIG, _MADE_OF = TypeAdapter(RunConfig), TypeAdapter(_MadeOf)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Decision on the next champion, with its reasons."""

    replaces: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
    """The one against the champion, where there were texts for it."""


def choose_champion(
    paired: Paired | None,
    *,
    metric: str,
    passed: bool,
    is_first: bool,
    rule: ChallengeConfig,
) -> Choice:
    """Decide whether the challenger replaces the champion.

    Args:
        paired: Both on the texts that are held out of both, the champion as the baseline; None
            where there is none.
        metric: The task's main metric.
        passed: What the gate said of the challenger.
        is_first: Whether there is no champion yet.
        rule: The thresholds.
    """
    against = () if passed else ("The gate refused the challenger.",)
    if is_first:
        return Choice(replaces=passed, reasons=against or ("There was no champion before.",))
    if paired is None:
        return Choice(replaces=False, reasons=(*against, "No text is held out of both."))
    check = against_champion(
        paired,
        metric=metric,
        max_loss=rule.max_metric_loss,
        setting="rule.max_metric_loss",
        evidence="proven",
    )
    if paired.texts < rule.min_texts:
        few = (
            f"Only {paired.texts} texts are held out of both; rule.min_texts requires "
            f"{rule.min_texts}."
        )
        against = (*against, few)
    against = (*against, *failures([check]))
    reasons = against or (f"It has seen the newer texts. {check.reason}",)
    return Choice(replaces=not against, reasons=reasons, checks=(check,))


def config_digest(config: RunConfig) -> str:
    """Return the sha256 of what a config asks for, wherever it is written and started from."""
    tree = config.model_dump(
        mode="json",
        exclude={
            **dict.fromkeys(("runs_dir", "shared_stages", "compute", "cluster", "pools"), True),
            "teacher": {"start"},
            "data": {"splits_of"},
        },
    )
    return sha256_json(tree)


def nothing_changed(config: RunConfig, data: str, champion: Path | None) -> bool:
    """Return whether champion or last challenger was made of this config and these texts.

    Args:
        config: What a retraining would run.
        data: Digest of its texts, however they are split.
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


def go_on_from(champion: Path, config: RunConfig) -> RunConfig:
    """Return the challenger's config: the champion's splits, and its adapters where they fit.

    A student that starts from the champion's adapters takes its splits too. Else it would be tested
    on the champion's training texts. Settings of the config itself stay.
    """
    before = _read_config(champion)
    changed = config
    if config.data.splits_of is None:
        data = config.data.model_copy(update={"splits_of": str((champion / "data").resolve())})
        changed = changed.model_copy(update={"data": data})
    is_same_shape = (before.teacher.model, before.teacher.adapter, before.data.labels) == (
        config.teacher.model,
        config.teacher.adapter,
        config.data.labels,
    )
    is_trained_here = isinstance(config.teacher.adapter, AdapterConfig)  # imported ones are not
    if is_same_shape and is_trained_here and config.teacher.start is None:
        start = str((champion / "finetune").resolve())
        teacher = config.teacher.model_copy(update={"start": start})
        changed = changed.model_copy(update={"teacher": teacher})
    return changed


def _challenge(config: RunConfig, data: str, champion: Path | None) -> str:
    return json.dumps([config_digest(config), data, champion.name if champion else None])


def _made_of(folder: Path) -> tuple[str, str]:
    """Return the digests of a finished run's config and texts."""
    report = read_json(folder / "report.json", _MADE_OF, expected="a report", advice=_OTHER_RUN)
    return config_digest(_read_config(folder)), report.data.texts_digest


def _read_config(folder: Path) -> RunConfig:
    """Return the config of a finished run.

    Raises:
        InputError: when it has none that can be read.
    """
    path = folder / "config.json"
    return read_json(path, _CONFIG, expected="a run's config", advice=_OTHER_RUN)
