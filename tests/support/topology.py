"""A compose file as processes: the same commands, environment, health checks and order.

Only the parts of a container are mapped. Ports are moved, host names become 127.0.0.1, and volumes
become folders. An image's programs are those that are installed here.
"""

import contextlib
import graphlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from support.prefect_api import free_port, wait_for

_PROGRAMS = {
    "python": [sys.executable],
    "prefect": [sys.executable, "-m", "prefect"],
    "mlflow": [sys.executable, "-m", "mlflow"],
    "adapter-distill": [sys.executable, "-m", "flows.cli.main"],
}
_PORTS = {"postgres": 5432, "redis": 6379, "prefect-server": 4200, "mlflow": 5000, "serving": 8000}
_PROXY_PORTS = {"http": 80, "https": 443}
_WORKER_PORT = 8080
_VOLUMES = r"(?<![\w.])/(data|tmp)(?=/|$)"
"""Where containers keep files; each service has a /tmp of its own."""


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's programs: Debian keeps them out of the PATH."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    installed = shutil.which("initdb") or next(iter(sorted(found, reverse=True)), None)
    return Path(installed).resolve().parent if installed else None


def read_compose(files: Sequence[str], variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the services of compose files, laid over one another, with their variables filled in.

    A service's ``configs`` become {path in the container: content}.

    Raises:
        KeyError: for a variable that is required and missing.
    """
    merged: dict[str, Any] = {}
    for name in files:
        document = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        document = _fill_in(
            {key: document.get(key, {}) for key in ("services", "configs")}, variables
        )
        merged = _merge(merged, document)
    services: dict[str, dict[str, Any]] = merged["services"]
    for service in services.values():
        service["configs"] = {
            used["target"]: merged["configs"][used["source"]]["content"]
            for used in service.get("configs", ())
        }
    return services


def _fill_in(value: Any, variables: Mapping[str, str]) -> Any:
    """Return a part of a document with its variables' values, which are never parsed as YAML."""

    def fill_in(match: re.Match[str]) -> str:
        name, kind, default = match.groups()
        return variables[name] if kind == ":?" else variables.get(name) or default

    if isinstance(value, dict):
        return {key: _fill_in(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill_in(each, variables) for each in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", fill_in, value)
    return value


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merge(below[key], above[key])
        for key in below.keys() & above.keys()
        if isinstance(below[key], dict)
    }
    return below | above | both


def is_secret(key: str) -> bool:
    """Tell whether an environment variable holds a secret, by its name."""
    return re.search("PASSWORD|AUTH_STRING|TOKEN$|SECRET", key) is not None


@dataclass(kw_only=True)
class Topology:
    """The services of compose files as processes of this one."""

    services: dict[str, dict[str, Any]]
    folder: Path
    """Folder of all their files; PostgreSQL's own user must be able to enter it."""
    ports: dict[int, int] = field(default_factory=dict)
    """From a container's port to the one here."""
    processes: dict[str, list[psutil.Popen]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {port: free_port() for port in (*_PORTS.values(), *_PROXY_PORTS.values())}
        (self.folder / "data").mkdir()

    def start(self) -> None:
        """Start every service once those that it depends on are as far as it asks."""
        needs = {name: each.get("depends_on", {}) for name, each in self.services.items()}
        for name in graphlib.TopologicalSorter(needs).static_order():
            for needed, how in needs[name].items():
                self.wait_until(needed, how["condition"])
            copies = int(self.services[name].get("scale", 1))
            self.processes[name] = [self.launch(name, copy) for copy in range(copies)]
        for name, service in self.services.items():
            if "healthcheck" in service:
                self.wait_until(name, "service_healthy")

    def wait_until(self, name: str, condition: str) -> None:
        """Wait for a condition of ``depends_on``."""
        if condition == "service_completed_successfully":
            assert [each.wait(180) for each in self.processes[name]] == [0], self.log(name)
            return
        assert condition == "service_healthy"
        for copy, process in enumerate(self.processes[name]):
            wait_for(lambda c=copy, p=process: p.poll() is not None or self.is_healthy(name, c))
            assert process.poll() is None, self.log(name)

    def is_healthy(self, name: str, copy: int = 0) -> bool:
        """Run a service's own health check."""
        how, *check = self.services[name]["healthcheck"]["test"]
        check = [*self._programs(check[0].split() if how == "CMD-SHELL" else check, name, copy)]
        if name == "redis":
            check[1:1] = ["-p", str(self.ports[_PORTS["redis"]])]
        done = subprocess.run(
            check, env=self._environment(name, copy), capture_output=True, timeout=60, check=False
        )
        return done.returncode == 0

    def launch(self, name: str, copy: int = 0) -> psutil.Popen:
        """Start one process of a service; what it says goes to its log."""
        if name == "postgres":
            command, user = self._postgres(), "postgres" if os.geteuid() == 0 else None
        else:
            command, user = self._programs(self.services[name]["command"], name, copy), None
        if name == "redis":
            command += ["--port", str(self.ports[_PORTS["redis"]]), "--bind", "127.0.0.1"]
        with (self.folder / f"{name}.log").open("ab") as log:
            return psutil.Popen(
                command,
                user=user,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=self._environment(name, copy),
                cwd=self.folder if user else Path.cwd(),
            )

    def stop(self) -> list[psutil.Process]:
        """Stop everything, last started first; return what is left over."""
        started = [process for each in self.processes.values() for process in each]
        family = [*started]
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                family += process.children(recursive=True)
        for name in reversed(self.processes):
            for process in self.processes[name]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(
                        signal.Signals[self.services[name].get("stop_signal", "SIGTERM")]
                    )
            for process in self.processes[name]:
                process.wait(60)
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            process.kill()
        return left

    def log(self, name: str) -> str:
        """Return the end of what a service has said."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")[-5000:]

    def url(self, name: str) -> str:
        """Return where a service answers."""
        if name == "proxy":
            return f"https://127.0.0.1:{self.ports[443]}"
        return f"http://127.0.0.1:{self.ports[_PORTS[name]]}"

    def _environment(self, name: str, copy: int) -> dict[str, str]:
        """Return a service's environment, and nothing of this process's own but its programs."""
        own = self.services[name].get("environment", {})
        mapped = {
            key: value if is_secret(key) else self._here(str(value), name, copy)
            for key, value in own.items()
        }
        mapped |= {key: "127.0.0.1" for key, value in own.items() if value in self.services}
        postgres = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.ports[_PORTS["postgres"]]),
            "PGPASSWORD": self.services["postgres"]["environment"]["POSTGRES_PASSWORD"],
        }
        home = self.folder / "home" / name
        home.mkdir(parents=True, exist_ok=True)
        return {
            "PATH": f"{find_postgres()}:{os.environ['PATH']}",
            "HOME": str(home),
            "PYTHONPATH": str(Path.cwd()),
            **(postgres if name == "postgres" else {}),
            **(self._worker_port(copy) if name == "worker" else {}),
            **mapped,
        }

    def _worker_port(self, copy: int) -> dict[str, str]:
        port = self.ports.setdefault(_WORKER_PORT + copy, free_port())
        return {
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
        }

    def _programs(self, command: Sequence[str], name: str, copy: int) -> list[str]:
        program, *rest = command
        arguments = [self._here(each, name, copy) for each in rest]
        return [*_PROGRAMS.get(program, [program]), *arguments]

    def _here(self, text: str, name: str, copy: int) -> str:
        """Return a value of the compose file as it is on this machine."""
        hosts = "|".join(map(re.escape, self.services))
        text = re.sub(rf"(?<![\w-])({hosts})(?=:\d)", "127.0.0.1", text)
        text = text.replace("0.0.0.0", "127.0.0.1")
        ports = self.ports | {_WORKER_PORT: self.ports.get(_WORKER_PORT + copy, _WORKER_PORT)}
        text = re.sub(r"(?<!\d)\d{4}(?!\d)", lambda m: str(ports.get(int(m[0]), m[0])), text)
        own = {"data": self.folder / "data", "tmp": self.folder / "tmp" / name}
        text = re.sub(_VOLUMES, lambda match: str(own[match[1]]), text)
        for target, content in self.services[name].get("configs", {}).items():
            if target in text:
                text = text.replace(target, str(self._write_config(target, content, name, copy)))
        return text

    def _write_config(self, target: str, content: str, name: str, copy: int) -> Path:
        path = self.folder / "home" / name / Path(target).name
        path.parent.mkdir(parents=True, exist_ok=True)
        for kind, port in _PROXY_PORTS.items():
            content = content.replace(f"{kind}_port {port}", f"{kind}_port {self.ports[port]}")
        path.write_text(self._here(content, name, copy), encoding="utf-8")
        return path

    def _postgres(self) -> list[str]:
        """Do what PostgreSQL's image does at its first start; return the server's command."""
        data, tools = self.folder / "postgres", find_postgres()
        given = self.services["postgres"]["environment"]
        server = [f"{tools}/postgres", "-D", str(data), "-p", str(self.ports[_PORTS["postgres"]])]
        server += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}"]
        if not data.exists():
            user = "postgres" if os.geteuid() == 0 else None
            data.mkdir(mode=0o700)
            if user:
                shutil.chown(data, user)
            with tempfile.NamedTemporaryFile("w", dir=self.folder) as secret:
                secret.write(given["POSTGRES_PASSWORD"])
                secret.flush()
                Path(secret.name).chmod(0o644)
                subprocess.run(
                    [
                        *(f"{tools}/initdb", "--pgdata", data, "--auth=scram-sha-256"),
                        *(f"--username={given['POSTGRES_USER']}", f"--pwfile={secret.name}"),
                    ],
                    user=user,
                    cwd=self.folder,
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
            single = [server[0], "--single", "-D", str(data), "postgres"]
            create = f"CREATE DATABASE {given['POSTGRES_DB']}\n"
            subprocess.run(
                single,
                input=create,
                text=True,
                user=user,
                cwd=self.folder,
                stdout=subprocess.DEVNULL,
                check=True,
            )
        return server
