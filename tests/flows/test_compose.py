"""docker-compose.yml: valid and careful. test_topology.py starts what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.settings.models.root import Settings
from support.topology import read_compose

FILES = ("docker-compose.yml", "docker-compose.scale.yml")
SECRETS = {"PREFECT_AUTH": "somebody:secret", "POSTGRES_PASSWORD": "secret"}
SERVICES = read_compose(FILES, SECRETS)
"""Both files laid over one another, as Docker does."""


@pytest.mark.parametrize("name", FILES)
def test_file_follows_the_compose_specification(name):
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", name]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_careful(name):
    service = SERVICES[name]

    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert re.search(r":\d+\.\d+", service["image"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    # The images of databases start as root, and leave it by themselves.
    assert name in ("postgres", "redis") or (service["cap_drop"], service["init"]) == (
        ["ALL"],
        True,
    )
    assert service["deploy"]["resources"]["limits"]["memory"]
    for needed, how in service.get("depends_on", {}).items():
        is_healthy = how["condition"] == "service_healthy"
        assert not is_healthy or "healthcheck" in SERVICES[needed]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("secret", SECRETS)
def test_secret_comes_of_the_environment_and_is_required(file, secret):
    text = Path(file).read_text(encoding="utf-8")
    without = {name: value for name, value in SECRETS.items() if name != secret}

    with pytest.raises(KeyError, match=secret):
        read_compose([file], without)
    for service in yaml.safe_load(text)["services"].values():
        for key, value in service.get("environment", {}).items():
            is_secret = "PASSWORD" in key or "AUTH" in key or "CONNECTION" in key
            assert not is_secret or ":?" in value


def test_every_part_has_the_same_prefect():
    asked = r"prefecthq/prefect:\$\{PREFECT_VERSION:-([\d.]+)\}"
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
