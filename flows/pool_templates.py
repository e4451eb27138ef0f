"""Work pools for stages that are built elsewhere: on this machine, in Docker, on Kubernetes.

A pool's template says how a run is started, and which of its settings a deployment may change. The
templates are Prefect's own, with three additions. These are an image, the shared disk as ``/data``,
and GPUs as a setting of each job.
"""

import copy
from dataclasses import dataclass
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from pipeline.errors import InputError

PoolType = Literal["process", "docker", "kubernetes"]
_PACKAGES = {"process": "prefect", "docker": "prefect-docker", "kubernetes": "prefect-kubernetes"}
_DISK = "/data"
"""Place of the shared disk in a container: runs_dir and relative paths start there."""
_VOLUME = "adapter-distill-data"

# Any: a template is JSON of Prefect's making.
Template = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolForm:
    """Settings of a new work pool."""

    kind: PoolType = "process"
    """Place of its runs: a process of the worker, a Docker container, a Kubernetes job."""
    image: str | None = None
    """Image of the project, for Docker and Kubernetes."""
    storage: str | None = None
    """Shared disk with ``runs_dir``: a folder or volume of Docker, a claim on Kubernetes."""
    gpus: int = 0
    """GPUs of each job, on Kubernetes; a deployment may change the number."""
    namespace: str = "default"
    """Namespace on Kubernetes."""


def create_pool(name: str, form: PoolForm) -> None:
    """Create a work pool on the server at PREFECT_API_URL.

    Raises:
        InputError: when there is a pool of that name, or the settings do not fit its type.
    """
    _check(form)
    with get_client(sync_client=True) as client:
        template = make_template(_default_template(client, form.kind), form)
        try:
            client.create_work_pool(
                WorkPoolCreate(name=name, type=form.kind, base_job_template=template)
            )
        except ObjectAlreadyExists as error:
            raise InputError(
                f"The Prefect server at {client.api_url} has a work pool {name!r}. Give another "
                "name, or change that pool in the UI (Work Pools, Edit)."
            ) from error


def make_template(default: Template, form: PoolForm) -> Template:
    """Return Prefect's default template of a pool, with a form's settings in it."""
    template = copy.deepcopy(default)
    if form.kind == "process":
        return template
    settings = template["variables"]["properties"]
    settings["image"]["default"] = form.image
    settings["env"]["default"] = {"ADAPTER_DISTILL_HOME": _DISK}
    if form.kind == "docker":
        settings["volumes"]["default"] = [f"{form.storage}:{_DISK}"]
    else:
        settings["namespace"]["default"] = form.namespace
        settings["gpus"] = {
            "title": "GPUs",
            "description": "GPUs of a job (nvidia.com/gpu).",
            "type": "integer",
            "minimum": 0,
            "default": form.gpus,
        }
        settings["storage_claim"] = {
            "title": "Storage claim",
            "description": f"Claim of the shared disk, which every job sees as {_DISK}.",
            "type": "string",
            "default": form.storage,
        }
        _ask_for_gpus_and_disk(template["job_configuration"]["job_manifest"])
    return template


def _ask_for_gpus_and_disk(manifest: Template) -> None:
    """Let a job's manifest request GPUs, and mount the shared disk."""
    pod = manifest["spec"]["template"]["spec"]
    for name in ("parallelism", "completions"):  # Prefect has them in the pod, which has no such
        if name in pod:
            manifest["spec"][name] = pod.pop(name)
    container = pod["containers"][0]
    limits = container.setdefault("resources", {}).setdefault("limits", {})
    limits["nvidia.com/gpu"] = "{{ gpus }}"
    container["volumeMounts"] = [{"name": _VOLUME, "mountPath": _DISK}]
    claim = {"claimName": "{{ storage_claim }}"}
    pod["volumes"] = [{"name": _VOLUME, "persistentVolumeClaim": claim}]


def worker_command(name: str, form: PoolForm) -> str:
    """Return the commands that start a worker of a pool."""
    package = _PACKAGES[form.kind]
    install = "" if package == "prefect" else f"pip install {package} && "
    return f"{install}prefect worker start --pool {name} --limit 1"


def _default_template(client: SyncPrefectClient, kind: PoolType) -> Template:
    """Return the server's own template for pools of a type; it needs no package of that type."""
    view = {"view": "aggregate-worker-metadata"}
    packages = client.request("GET", "/collections/views/{view}", path_params=view).json()
    template: Template = packages[_PACKAGES[kind]][kind]["default_base_job_configuration"]
    return template


def _check(form: PoolForm) -> None:
    """Refuse settings that a pool of this type would ignore, or cannot do without."""
    given = {"--image": form.image, "--storage": form.storage}
    if form.kind == "process":
        unused = [name for name, value in given.items() if value] + ["--gpus"] * bool(form.gpus)
        if unused:
            raise InputError(
                f"A process pool runs where its worker is, and takes no {', '.join(unused)}. Leave "
                "it out, or give --type docker or kubernetes."
            )
        return
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise InputError(f"A {form.kind} pool needs {' and '.join(missing)}.")
    if form.kind == "docker" and form.gpus:
        raise InputError(
            "Prefect's Docker worker cannot request GPUs. Leave --gpus out, and make the NVIDIA "
            "runtime the default of that machine's Docker."
        )
