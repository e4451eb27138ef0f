"""An installation that is killed, restarted, promoted, rolled back, retrained and asked, at random.

`Soak` holds what must be true after each step. It remembers its own changes, such as a schedule
that it switched on. Everything else it reads from the installation.
"""

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from support.installations import COMMANDS, Installation, command_of, is_gone
from support.prefect_api import wait_for

from flows.up.installation import missing_services
from pipeline.release.aliases import CHAMPION
from pipeline.release.marks import is_marked
from pipeline.store.stage import RECORD

STUDENT = "smoke"
RETRAINING = "retrain/scheduled"
LARGEST_STUDENT_BYTES = 381 * 2**20
_ACTIVE = ("RUNNING", "PENDING", "CANCELLING")


class Load(threading.Thread):
    """Requests to the server of students, one after the other, and those that failed."""

    def __init__(self, port: int) -> None:
        super().__init__(name="load", daemon=True)
        self.url = f"http://127.0.0.1:{port}/v2/models/{STUDENT}/texts"
        self.answered = 0
        self.failures: list[tuple[float, str]] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        """Ask until it is over; a failure is kept with its time."""
        with httpx.Client(timeout=10) as client:
            while not self.is_over.wait(0.05):
                asked_s = time.monotonic()
                try:
                    status = client.post(self.url, json={"texts": ["a good film"]}).status_code
                except httpx.HTTPError as error:
                    self.failures.append((asked_s, repr(error)))
                    continue
                if status == 200:
                    self.answered += 1
                else:
                    self.failures.append((asked_s, f"status {status}"))


@dataclass(kw_only=True)
class Soak:
    """One installation, what was done to it, and what must hold."""

    installation: Installation
    make_config: Callable[..., dict[str, Any]]
    """``make_config(*overrides)``: a run's config."""
    rng: random.Random
    story: list[str] = field(default_factory=list)
    excused: list[tuple[float, float]] = field(default_factory=list)
    """When the server of students was away because of what was done to it, monotonic seconds."""
    schedule_is_on: bool = False
    runs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.load = Load(self.installation.ports.student)

    @property
    def steps(self) -> tuple[tuple[Callable[[], None], int], ...]:
        """Possible steps, each with its weight."""
        return (
            (self.kill_a_service, 4),
            (self.restart, 2),
            (self.train, 3),
            (self.retrain, 1),
            (self.cancel_a_run, 1),
            (self.promote, 3),
            (self.roll_back, 2),
            (self.switch_the_schedule, 2),
        )

    def take_a_step(self) -> None:
        """Let something happen, and check everything."""
        steps, weights = zip(*self.steps, strict=True)
        step = self.rng.choices(steps, weights)[0]
        self.story.append(f"{time.strftime('%H:%M:%S')} {step.__name__}")
        step()
        self.check()

    # What happens.

    def kill_a_service(self) -> None:
        """Kill -9 one of the services; it must come back."""
        name = self.rng.choice([each for each in COMMANDS if each not in missing_services()])
        process = wait_for(lambda: self.installation.service(name))
        self.story.append(f"  {name}")
        with self.away() if name == "student" else contextlib.nullcontext():
            self.installation.kill(process)
            self.installation.wait_for_return(name, process)
            if name == "student":
                self.wait_for_the_champion()

    def restart(self) -> None:
        """End the whole installation by Ctrl-C or kill -9, and start it again."""
        how = self.rng.choice([signal.SIGINT, signal.SIGKILL])
        self.story.append(f"  {how.name}")
        family = self.installation.up.children(recursive=True)
        with self.away():
            self.installation.up.send_signal(how)
            wait_for(lambda: is_gone(self.installation.up), seconds=90)
            wait_for(lambda: all(map(is_gone, family)), seconds=60)
            self.installation.start_again()
            self.wait_for_the_champion()

    def train(self) -> None:
        """Start a run that trains another student, and registers and releases it if it may."""
        config = self.another_config()
        self.start("adapter-to-student/on-demand", config=config, release="if_gate_passes")

    def retrain(self) -> None:
        """Start a night's retraining."""
        self.start(RETRAINING, config=self.another_config())

    def cancel_a_run(self) -> None:
        """Cancel a run, whatever it is doing."""
        if active := self.active_runs():
            state = {"type": "CANCELLING", "name": "Cancelling"}
            path = f"/flow_runs/{self.rng.choice(active)}/set_state"
            self.installation.request("POST", path, json={"state": state})

    def promote(self) -> None:
        """Promote any version; one that is marked must be refused."""
        if not (versions := self.installation.registry.versions(STUDENT)):
            return
        version, before = self.rng.choice(versions), self.champion()
        code = self.command("promote", STUDENT, str(version.number))
        self.story.append(f"  version {version.number}: exit code {code}")
        now = self.champion()
        assert code in (0, 2)
        assert now == (version.number if code == 0 else before) or self.active_runs()
        assert code == 2 or not is_marked(version, versions)

    def roll_back(self) -> None:
        """Roll back; the version before this one must be marked and never come back by itself."""
        before = self.champion()
        code = self.command("rollback", STUDENT)
        self.story.append(f"  from {before} to {self.champion()}: exit code {code}")
        assert code in (0, 2)
        assert code == 2 or self.champion() != before or self.active_runs()

    def switch_the_schedule(self) -> None:
        """Switch the nightly retraining on or off, as an operator does."""
        found = self.deployment(RETRAINING)
        self.schedule_is_on = not found["schedules"][0]["active"]
        path = f"/deployments/{found['id']}/schedules/{found['schedules'][0]['id']}"
        self.installation.request("PATCH", path, json={"active": self.schedule_is_on})

    # What must hold.

    def check(self) -> None:
        """Check what holds at any time."""
        registry = self.installation.registry
        versions = registry.versions(STUDENT)
        champions = [each.number for each in versions if CHAMPION in each.aliases]
        assert len(champions) == 1
        assert not is_marked(registry.find(STUDENT, str(champions[0])), versions)
        assert self.deployment(RETRAINING)["schedules"][0]["active"] == self.schedule_is_on
        failed = self.unexcused()
        assert failed == [], failed[:5]
        student = self.installation.service("student")
        if student is not None:
            assert student.memory_info().rss <= LARGEST_STUDENT_BYTES

    def come_to_rest(self) -> None:
        """Wait until nothing runs any more, and check what holds then."""
        wait_for(lambda: not self.active_runs(), seconds=600)
        states = {run: self.installation.state_of(run) for run in self.runs}
        ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SCHEDULED")
        assert {run: s for run, s in states.items() if s["type"] not in ended} == {}
        self.wait_for_the_champion()
        self.check()
        limits = self.installation.request("POST", "/v2/concurrency_limits/filter", json={}).json()
        assert {each["name"]: each["active_slots"] for each in limits if each["active_slots"]} == {}
        here = [command_of(each) for each in self.installation.up.children(recursive=True)]
        assert not [command for command in here if "spawn_main" in command]
        # What a killed build wrote is a .partial folder, which the next build or gc removes.
        stages = Path(self.installation.state, "runs", ".stages").glob("[!.]*")
        finished = [path for path in stages if path.suffix != ".partial"]
        assert finished
        assert [path for path in finished if not (path / RECORD).is_file()] == []

    # Means.

    def another_config(self) -> dict[str, Any]:
        """Return a config whose student differs from all others, on the same texts."""
        rate = f"finetune.learning_rate={self.rng.uniform(0.008, 0.012)}"
        return self.make_config(rate, "release.register_run=true")

    def start(self, deployment: str, **parameters: Any) -> None:
        """Start a run of a deployment."""
        self.runs.append(self.installation.start(deployment, **parameters))

    def champion(self) -> int | None:
        """Return the champion's number."""
        return self.installation.registry.alias(STUDENT, CHAMPION)

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment."""
        found: dict[str, Any] = self.installation.request("GET", f"/deployments/name/{name}").json()
        return found

    def active_runs(self) -> list[str]:
        """Return the runs that have begun and not ended."""
        wanted = {"flow_runs": {"state": {"type": {"any_": [*_ACTIVE]}}}}
        found = self.installation.request("POST", "/flow_runs/filter", json=wanted).json()
        return [run["id"] for run in found]

    def command(self, *arguments: str) -> int:
        """Run `adapter-distill models`; return its exit code."""
        registry = f"sqlite:///{self.installation.state / 'runs' / 'mlflow.db'}"
        runs = str(self.installation.state / "runs")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "flows.cli.main", "models", *arguments),
                *("--registry", registry, "--runs-dir", runs),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def wait_for_the_champion(self) -> None:
        """Wait until the server answers with the champion of the registry."""
        url = f"http://127.0.0.1:{self.installation.ports.student}/v2/models/{STUDENT}"

        def is_served() -> bool:
            try:
                answer = httpx.get(url, timeout=10)
            except httpx.HTTPError:
                return False
            return answer.status_code == 200 and answer.json()["versions"] == [str(self.champion())]

        wait_for(is_served, seconds=120)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Excuse requests that fail while the server of students is away."""
        started_s = time.monotonic()
        yield
        # A request that the killed server held may have begun long before.
        self.excused.append((started_s - 10, time.monotonic()))

    def unexcused(self) -> list[tuple[float, str]]:
        """Return the failed requests that nothing explains."""
        return [
            (at_s, why)
            for at_s, why in self.load.failures
            if not any(start <= at_s <= end for start, end in self.excused)
        ]
