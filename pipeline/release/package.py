"""A sealed bundle in the layout of other people's servers: Triton, KServe, a model hub.

The files are copied as they are; what is written beside them are the few lines that each platform
reads. The folder is built under another name and appears when it is whole.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from pipeline.config.provider import Provider
from pipeline.errors import InputError
from pipeline.inference.classifier import Classifier, load_bundle
from pipeline.inference.session import DATA
from pipeline.release.bundle import Manifest, copy_files, verify_bundle
from pipeline.release.registry import check_name
from pipeline.store.files import new_folder

Platform = Literal["triton", "kserve", "hub"]
_TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}
_MAX_BATCH, _DELAY_US = 32, 500
_TRITON: dict[Provider, tuple[str, str]] = {
    "cpu": ("cpu", ""),
    "openvino": ("cpu", "openvino"),
    "cuda": ("gpu", ""),
    "tensorrt": ("gpu", "tensorrt"),
}
"""Processor and accelerator of Triton's onnxruntime, by provider."""
_LABELS = "labels.txt"


def package(
    bundle: Path,
    out: Path,
    platform: Platform,
    *,
    name: str,
    storage_uri: str | None = None,
    provider: Provider = "cpu",
) -> None:
    """Write a bundle to a new folder in a platform's layout.

    - ``triton``: a model repository, ``NAME/config.pbtxt`` and ``NAME/1/model.onnx``;
    - ``kserve``: the same repository and ``inferenceservice.yaml``, which serves it;
    - ``hub``: the bundle itself, in the layout of transformers, Optimum, transformers.js and Text
      Embeddings Inference, with what a hub's git needs for large files.

    Args:
        bundle: A sealed bundle; every digest is checked.
        out: New folder.
        platform: Whose layout.
        name: Name of the model there.
        storage_uri: Where the cluster will find the repository; needed for ``kserve``.
        provider: Execution provider that Triton runs the model with. One that its onnxruntime
            does not have is refused.

    Raises:
        InputError: when the folder exists, or the bundle is not what its manifest says.
    """
    check_name(name)
    if platform != "hub" and provider not in _TRITON:
        raise InputError(
            f"Triton has no provider {provider}: expected one of {', '.join(_TRITON)}. Give one of "
            "these."
        )
    if platform == "kserve" and not storage_uri:
        raise InputError(
            "KServe needs to know where the cluster finds the files: give --storage-uri, such as "
            "s3://bucket/folder or pvc://claim/folder."
        )
    with new_folder(out) as folder:
        if platform == "hub":
            _write_hub(bundle, folder)
            return
        _write_triton(bundle, verify_bundle(bundle), folder, name, provider)
        if platform == "kserve":
            service = _inference_service(name, str(storage_uri), provider)
            (folder / "inferenceservice.yaml").write_text(service, encoding="utf-8")


def _write_hub(bundle: Path, folder: Path) -> None:
    copy_files(bundle, folder)
    lines = (
        f"{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in ("*.onnx", "*.safetensors")
    )
    (folder / ".gitattributes").write_text("".join(lines), encoding="utf-8")


def _write_triton(
    bundle: Path, manifest: Manifest, folder: Path, name: str, provider: Provider
) -> None:
    version = folder / name / "1"
    version.mkdir(parents=True)
    shutil.copyfile(bundle / manifest.model, version / "model.onnx")
    data = bundle / (manifest.model + DATA)
    if data.is_file():  # the graph knows it by this name
        shutil.copyfile(data, version / data.name)
    classifier = load_bundle(bundle, threads=1)
    config = _triton_config(name, classifier, provider)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if classifier.labels:
        labels = "".join(f"{label}\n" for label in classifier.labels)
        (folder / name / _LABELS).write_text(labels, encoding="utf-8")


def _triton_config(name: str, classifier: Classifier, provider: Provider) -> str:
    """Return the model's configuration: dimensions are without the batch, as Triton counts."""
    found = classifier.session.get_outputs()
    # The columns of a graph's only output have the labels' names.
    is_named = classifier.labels and len(found) == 1
    named = f' label_filename: "{_LABELS}"' if is_named else ""
    inputs = ",\n".join(f"  {{ {_tensor(each)} }}" for each in classifier.session.get_inputs())
    outputs = ",\n".join(f"  {{ {_tensor(each)}{named} }}" for each in found)
    place, accelerator = _TRITON[provider]
    kind = f"KIND_{place.upper()}"
    accelerators = ""
    if accelerator:
        accelerators = (
            f"optimization {{ execution_accelerators {{ {place}_execution_accelerator : "
            f'[ {{ name : "{accelerator}" }} ] }} }}\n'
        )
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: {_MAX_BATCH}
input [
{inputs}
]
output [
{outputs}
]
instance_group [ {{ count: 1 kind: {kind} }} ]
{accelerators}dynamic_batching {{ max_queue_delay_microseconds: {_DELAY_US} }}
version_policy {{ latest {{ num_versions: 1 }} }}
"""


# Any: onnxruntime has no types.
def _tensor(each: Any) -> str:
    """Return a tensor's name, type and dimensions."""
    sizes = ", ".join(str(size if isinstance(size, int) else -1) for size in each.shape[1:])
    return f'name: "{each.name}" data_type: {_TYPES[each.type]} dims: [ {sizes} ]'


def _inference_service(name: str, storage_uri: str, provider: Provider) -> str:
    """Return the manifest; JSON is YAML, and needs no care with quotes."""
    place, _ = _TRITON[provider]
    gpu = {"nvidia.com/gpu": "1"} if place == "gpu" else {}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "onnx"},
                    "protocolVersion": "v2",
                    "runtime": "kserve-tritonserver",
                    "storageUri": storage_uri,
                    "resources": {
                        "requests": {"cpu": "1", "memory": "512Mi"},
                        "limits": {"cpu": "2", "memory": "1Gi", **gpu},
                    },
                }
            }
        },
    }
    return json.dumps(service, indent=2) + "\n"
