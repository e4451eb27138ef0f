"""Work pools on a real server; the jobs of a Kubernetes pool against Kubernetes' own schemas."""

import dataclasses

import kubernetes_validate
import pytest
from prefect.client.orchestration import get_client
from prefect.utilities.templating import apply_values

from flows.pool_templates import PoolForm, create_pool, make_template, worker_command
from pipeline.errors import InputError

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

KUBERNETES = PoolForm(
    kind="kubernetes", image="registry/distill:1", storage="runs", gpus=2, namespace="train"
)
DOCKER = PoolForm(kind="docker", image="distill:1", storage="/srv/runs")
NEW_VERSIONS = ("1.28", "1.31", "1.34")


@pytest.fixture(scope="module")
def created():
    """``created(name, form)``: the template of a new pool, as the server has it."""

    def created(name, form):
        create_pool(name, form)
        with get_client(sync_client=True) as client:
            pool = client.read_work_pool(name)
        assert pool.type == form.kind
        return pool.base_job_template

    return created


def started_job(template, **settings):
    """Return the manifest of a job, with the template's defaults and a deployment's settings."""
    properties = template["variables"]["properties"]
    defaults = {name: each.get("default") for name, each in properties.items()}
    named = {"name": "run", "command": ["prefect", "flow-run", "execute"], "labels": {"a": "b"}}
    values = {k: v for k, v in (defaults | named | settings).items() if v is not None}
    # As the worker sends it: a variable without a value is left out, and env is a list.
    env = [{"name": key, "value": value} for key, value in values["env"].items()]
    job = template["job_configuration"]["job_manifest"]
    return apply_values(job, values | {"env": env}, remove_notset=True)


def test_kubernetes_job_asks_for_gpus_and_mounts_the_shared_disk(created):
    job = started_job(created("on-kubernetes", KUBERNETES))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert job["metadata"]["namespace"] == "train"
    assert container["image"] == "registry/distill:1"
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert container["env"] == [{"name": "ADAPTER_DISTILL_HOME", "value": "/data"}]
    (mount,), (volume,) = container["volumeMounts"], pod["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/data")
    assert volume["persistentVolumeClaim"] == {"claimName": "runs"}


@pytest.mark.parametrize("version", NEW_VERSIONS)
@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_every_kubernetes_takes_the_job_and_a_deployment_sets_its_gpus(version, gpus):
    with get_client(sync_client=True) as client:
        packages = client.request(
            "GET", "/collections/views/{view}", path_params={"view": "aggregate-worker-metadata"}
        ).json()
    default = packages["prefect-kubernetes"]["kubernetes"]["default_base_job_configuration"]
    job = started_job(make_template(default, KUBERNETES), gpus=gpus)

    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == gpus
    kubernetes_validate.validate(job, version, strict=True)


def test_docker_pool_mounts_the_shared_disk_where_the_image_expects_it(created):
    settings = created("on-docker", DOCKER)["variables"]["properties"]

    assert settings["image"]["default"] == "distill:1"
    assert settings["volumes"]["default"] == ["/srv/runs:/data"]
    assert settings["env"]["default"] == {"ADAPTER_DISTILL_HOME": "/data"}


def test_name_that_is_taken_is_refused(created):
    created("taken", PoolForm())

    with pytest.raises(InputError, match="has a work pool 'taken'"):
        create_pool("taken", PoolForm())


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (PoolForm(image="x"), "takes no --image"),
        (PoolForm(gpus=1, storage="x"), "takes no --storage, --gpus"),
        (PoolForm(kind="docker", image="x"), "a docker pool needs --storage"),
        (PoolForm(kind="kubernetes", gpus=1), "needs --image and --storage"),
        (dataclasses.replace(DOCKER, gpus=1), "cannot request GPUs"),
    ],
)
def test_settings_that_do_not_fit_the_type_are_refused(form, said):
    with pytest.raises(InputError, match=f"(?i){said}"):
        create_pool("never", form)


def test_worker_of_another_type_needs_its_package():
    assert worker_command("near", PoolForm()) == "prefect worker start --pool near --limit 1"
    assert worker_command("gpu", KUBERNETES).startswith("pip install prefect-kubernetes && ")
