"""docker-compose.yml: valid and careful. test_topology.py starts what it says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.settings.models.root import Settings
from support.topology import is_secret, read_compose

from pipeline.serving.settings import ServeSettings

FILES = ("docker-compose.yml", "docker-compose.scale.yml", "docker-compose.tls.yml")
SECRETS = {
    "PREFECT_AUTH": "somebody:secret",
    **dict.fromkeys(("POSTGRES_PASSWORD", "MLFLOW_PASSWORD", "MLFLOW_SECRET_KEY"), "secret"),
    "ADAPTER_DISTILL_TOKEN": "secret",
}
PUBLIC = {"DOMAIN": "example.com", "TLS": "internal"}
SERVICES = read_compose(FILES, SECRETS | PUBLIC)
"""All files laid over one another, as Docker does."""
ONE_SHOT = ("bootstrap", "mlflow-database")


@pytest.mark.parametrize("name", FILES)
def test_file_follows_the_compose_specification(name):
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", name]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_careful(name):
    service = SERVICES[name]

    # Only the proxy is reached from elsewhere.
    for port in service.get("ports", []):
        assert name == "proxy" or port.startswith("127.0.0.1:")
    assert re.search(r":\d+\.\d+", service["image"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    # The images of databases start as root, and leave it by themselves.
    assert name in ("postgres", "redis") or (service["cap_drop"], service["init"]) == (
        ["ALL"],
        True,
    )
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert (service["restart"] == "no") == (name in ONE_SHOT)
    for needed, how in service.get("depends_on", {}).items():
        is_healthy = how["condition"] == "service_healthy"
        assert not is_healthy or "healthcheck" in SERVICES[needed] or needed in ONE_SHOT


@pytest.mark.parametrize("secret", SECRETS)
def test_secret_comes_of_the_environment_alone_and_is_required(secret):
    without = {name: value for name, value in (SECRETS | PUBLIC).items() if name != secret}

    with pytest.raises(KeyError, match=secret):
        read_compose(FILES, without)


def test_no_secret_is_written_down_or_stands_in_a_command_or_in_a_url():
    sentinels = {name: f"secret-of-{name}" for name in SECRETS}
    for service in read_compose(FILES, sentinels | PUBLIC).values():
        for key, value in service.get("environment", {}).items():
            assert is_secret(key) == (value in sentinels.values() or key == "HF_TOKEN"), key
        public = {key: value for key, value in service.items() if key != "environment"}
        assert "secret-of" not in repr(public)


def test_every_secret_is_asked_for_in_the_example():
    example = Path(".env.example").read_text(encoding="utf-8")

    assert {name for name in SECRETS if f"\n{name}=\n" in example} == SECRETS.keys()


def test_number_of_workers_and_of_slots_are_one():
    for workers in ("1", "4"):
        services = read_compose(FILES, SECRETS | PUBLIC | {"WORKERS": workers})

        slots = {
            services[name]["environment"]["ADAPTER_DISTILL_SLOTS"]
            for name in ("bootstrap", "worker")
        }
        assert slots == {services["worker"]["scale"]} == {workers}


def test_server_of_students_has_the_time_that_it_drains():
    allowed = float(SERVICES["serving"]["stop_grace_period"].removesuffix("s"))

    assert allowed > 2 * ServeSettings().drain_s


def test_change_of_the_source_installs_no_package_again():
    stages = Path("Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    for stage in stages[2:]:
        lines = stage.splitlines()
        source = next(at for at, line in enumerate(lines) if line.startswith("COPY"))
        installed = [line for line in lines[source:] if line.startswith("RUN pip install")]

        assert installed == [line for line in installed if "--no-deps" in line]
        assert any(line.startswith("RUN pip install") for line in lines[:source])


def test_proxys_configuration_is_valid(tmp_path):
    if shutil.which("caddy") is None:
        pytest.skip("Caddy is missing: apt-get install caddy")
    (content,) = SERVICES["proxy"]["configs"].values()
    (tmp_path / "Caddyfile").write_text(content, encoding="utf-8")

    command = ["caddy", "adapt", "--config", tmp_path / "Caddyfile", "--adapter", "caddyfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    hosts = re.findall(r'"host":\["([\w.]+)"\]', done.stdout)
    assert sorted(hosts) == ["mlflow.example.com", "prefect.example.com", "students.example.com"]


def test_every_part_has_the_same_prefect():
    asked = r"prefecthq/prefect:([\d.]+)-"
    texts = {name: Path(name).read_text(encoding="utf-8") for name in (*FILES, "Dockerfile")}
    built = re.search(r"^ARG PREFECT_VERSION=(.+)$", texts["Dockerfile"], re.MULTILINE)[1]
    written = yaml.safe_load(Path("prefect.yaml").read_text(encoding="utf-8"))["prefect-version"]

    assert {match for name in FILES for match in re.findall(asked, texts[name])} == {built}
    assert SERVICES["bootstrap"]["build"]["args"]["PREFECT_VERSION"] == built == written


def test_registry_is_reached_by_the_name_that_it_answers_to():
    command = SERVICES["mlflow"]["command"]
    allowed = command[command.index("--allowed-hosts") + 1].split(",")
    used = {
        service["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
        for service in SERVICES.values()
        if "MLFLOW_TRACKING_URI" in service.get("environment", {})
    }

    assert used <= set(allowed)


def test_service_that_cannot_write_keeps_its_cache_in_memory():
    serving = SERVICES["serving"]

    assert serving["read_only"]
    assert serving["environment"]["XDG_CACHE_HOME"].startswith(tuple(serving["tmpfs"]))


def test_every_setting_of_prefect_is_one_that_prefect_knows():
    # Those of prefect-redis are its own.
    known = known_names(Settings)
    used = {
        key
        for service in SERVICES.values()
        for key in service.get("environment", {})
        if key.startswith("PREFECT_") and not key.startswith("PREFECT_REDIS_")
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
