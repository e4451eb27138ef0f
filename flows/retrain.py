"""Scheduled retraining: nothing where nothing changed, else a challenger for the champion."""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.approval import Release, ask, check_can_ask
from flows.building import building
from flows.chain import adapter_to_student
from flows.page.retraining import show_decision, show_nothing_to_do
from flows.page.run import explain_failure
from flows.release import mark_refused, release_run
from flows.tasks import as_tasks
from pipeline.chain.teacher_steps import data_step
from pipeline.config import RunConfig
from pipeline.release.against_champion import compare_with, find_drift
from pipeline.release.challenge import (
    ChallengeConfig,
    choose_champion,
    go_on_from,
    nothing_changed,
    remember_challenge,
)
from pipeline.release.champion import find_champion
from pipeline.release.registry import open_registry
from pipeline.report.report import Report
from pipeline.tasks.all_tasks import find_task

DEFAULT_CHALLENGE = ChallengeConfig()

_compare_with = task(name="compare", cache_policy=NO_CACHE, persist_result=False)(compare_with)
_find_drift = task(name="drift", cache_policy=NO_CACHE, persist_result=False)(find_drift)


@flow(
    name="retrain",
    flow_run_name="{config.name}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def retrain(
    config: RunConfig,
    rule: ChallengeConfig = DEFAULT_CHALLENGE,
    release: Release = "if_gate_passes",
) -> State[None]:
    """Train a challenger where data or config changed; it replaces a champion that it equals.

    Args:
        config: What to run: the tables of a TOML config, as groups.
        rule: When the challenger takes the champion's place.
        release: What happens to a challenger that won. never: nothing; if_gate_passes: it becomes
            the champion at once; ask_me: the run waits for your answer, and goes on after it.
    """
    check_can_ask(release)
    registry = open_registry(config.release.registry, config.runs_dir)
    champion = find_champion(registry, config.name, config.runs_dir)
    with building(config) as store:
        data = as_tasks(store, config.cluster)(data_step(config))
    texts = data.facts.texts_digest
    if nothing_changed(config, texts, champion):
        show_nothing_to_do(champion, data)
        return Completed(name="NothingToDo", message="Neither the data nor the config changed.")
    drift = _find_drift(data.folder, champion, rule) if champion else ()
    challenger = go_on_from(champion, config) if champion else config
    folder = adapter_to_student(challenger)
    report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
    paired = _compare_with(champion, folder, rule) if champion else None
    metric = find_task(config.task).main_metric
    choice = choose_champion(
        paired,
        metric=metric,
        passed=report.verdict == "passed",
        is_first=champion is None,
        rule=rule,
    )
    decision = show_decision(
        report, champion, paired, choice, drift, challenger.teacher.start, metric=metric
    )
    if champion and not choice.replaces:
        mark_refused(config, folder, choice.reasons)
    released = (
        choice.replaces
        and ask(release, title=f"Release {folder.name}?", report=decision)
        and release_run(config, folder)
    )
    if released:
        champion = folder
    remember_challenge(config, texts, champion)
    outcome = "replaces the champion" if released else "does not replace the champion"
    get_run_logger().info("%s %s", folder.name, outcome)
    return Completed(message=f"{folder.name} {outcome}: {' '.join(choice.reasons)}")
