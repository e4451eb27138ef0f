"""docker-compose.yml: valid, careful, and its services started as processes from what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from prefect.settings.models.root import Settings

from flows import services

FILES = ("docker-compose.yml", "docker-compose.scale.yml")
SECRETS = {"PREFECT_AUTH": "somebody:secret", "POSTGRES_PASSWORD": "secret"}
CORE = yaml.safe_load(Path(FILES[0]).read_text(encoding="utf-8"))
POSTGRES = shutil.which("initdb") and shutil.which("pg_ctl")


@pytest.mark.parametrize("name", FILES)
def test_file_follows_the_compose_specification(name):
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", name]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", CORE["services"])
def test_service_is_careful(name):
    service = CORE["services"][name]
    environment = service.get("environment", {})

    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert re.search(r":\d+\.\d+", service["image"])
    assert service["deploy"]["resources"]["limits"]["memory"]
    for needed, how in service.get("depends_on", {}).items():
        is_healthy = how["condition"] == "service_healthy"
        assert not is_healthy or "healthcheck" in CORE["services"][needed]
    for key, value in environment.items():
        is_secret = "PASSWORD" in key or "AUTH" in key or "CONNECTION" in key
        assert not is_secret or ":?" in value


def test_every_setting_of_prefect_is_one_that_prefect_knows():
    known = known_names(Settings)
    used = {
        key
        for service in CORE["services"].values()
        for key in service.get("environment", {})
        if key.startswith("PREFECT_")
    }

    assert used - known == set()


def known_names(settings, prefix="PREFECT_"):
    """Return the names of the environment variables that Prefect's settings read."""
    names = set()
    for name, field in settings.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            names |= known_names(inner, f"{prefix}{name.upper()}_")
        names.add(f"{prefix}{name.upper()}")
        names |= {str(choice).upper() for choice in getattr(field.validation_alias, "choices", [])}
    return names | {"PREFECT_API_DATABASE_CONNECTION_URL"}


@pytest.fixture
def as_process(installation_port, tmp_path):
    """``as_process(name)``: a service of the file on this machine, with its ports moved."""
    ports = {number: installation_port() for number in ("5432", "4200", "8080")}

    def here(text):
        text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: SECRETS[match[1]], text)
        text = re.sub(r"\b(postgres|prefect-server|mlflow):(?=\d)", "127.0.0.1:", text)
        for number, moved in ports.items():
            text = re.sub(rf"\b{number}\b", str(moved), text)
        return text.replace("0.0.0.0", "127.0.0.1").replace("/data", str(tmp_path))

    def as_process(name):
        entry = CORE["services"][name]
        environment = {key: here(value) for key, value in entry.get("environment", {}).items()}
        check = " ".join(entry.get("healthcheck", {}).get("test", []))
        url = re.search(r"http://[^']+", here(check))
        program, *arguments = (here(part) for part in entry["command"])
        programs = {"prefect": ["-m", "prefect"], "python": []}
        return services.Service(
            name=name,
            command=[sys.executable, *programs[program], *arguments],
            port=0,
            health=url[0] if url else "",
            address=None,
            environment=environment
            | {
                "PREFECT_HOME": str(tmp_path / "prefect"),
                "PREFECT_WORKER_WEBSERVER_PORT": str(ports["8080"]),
                "PYTHONPATH": str(Path.cwd()),
            },
        )

    as_process.database_port = ports["5432"]
    return as_process


@pytest.fixture
def postgres(as_process, tmp_path):
    """PostgreSQL with the user, the password and the database of the file."""
    if not POSTGRES:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = tmp_path / "postgres"
    folder.mkdir()
    password = folder / "password"
    password.write_text(SECRETS["POSTGRES_PASSWORD"])
    if user:
        for parent in (*tmp_path.parents, tmp_path):
            if "pt" in parent.name or "pytest" in parent.name or parent == tmp_path:
                parent.chmod(0o755)
        shutil.chown(folder, "postgres")
        shutil.chown(password, "postgres")
    data = folder / "data"
    make = ["initdb", "-D", data, "-U", "prefect", "-A", "scram-sha-256", f"--pwfile={password}"]
    options = f"-p {as_process.database_port} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*user, "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*user, *make], check=True, capture_output=True)
    subprocess.run(
        [*control, "-o", f"{options} -c unix_socket_directories={folder}", "start"],
        check=True,
        capture_output=True,
    )
    address = f"host=127.0.0.1 port={as_process.database_port} user=prefect dbname=postgres"
    create = ["psql", address, "-c", "create database prefect"]
    environment = os.environ | {"PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}
    subprocess.run(create, check=True, env=environment, capture_output=True)
    yield
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.xdist_group("operations")
@pytest.mark.usefixtures("postgres")
def test_topology_runs_a_stage_on_postgres_behind_a_password(as_process, smoke_config, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    started = []
    config = smoke_config()

    def start(name):
        service = as_process(name)
        started.append(services.start(service, logs))
        return service, started[-1]

    try:
        server, process = start("prefect-server")
        services.wait_until_healthy(server, process, logs / "prefect-server.log")
        api = server.health.removesuffix("/ready")
        _, bootstrap = start("bootstrap")
        assert bootstrap.wait(180) == 0, (logs / "bootstrap.log").read_text()
        worker, process = start("worker")
        services.wait_until_healthy(worker, process, logs / "worker.log")
        user, _, password = SECRETS["PREFECT_AUTH"].partition(":")
        client = httpx.Client(base_url=api, auth=(user, password), timeout=60)
        deployment = client.get("/deployments/name/run-stage/one-stage").json()["id"]
        run = subprocess.run(
            [
                *(sys.executable, "-m", "prefect", "deployment", "run", "--watch"),
                *("run-stage/one-stage", "--params"),
                json.dumps({"config": config, "stage": "distill"}),
            ],
            env=os.environ | dict(worker.environment),
            capture_output=True,
            text=True,
            check=False,
        )

        assert httpx.get(f"{api}/deployments/{deployment}").status_code == 401
        assert run.returncode == 0, run.stdout + run.stderr
        assert list(Path(config["runs_dir"]).glob(".stages/distill-*/record.json"))
    finally:
        services.stop(started)
