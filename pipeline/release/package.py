"""A sealed bundle in the layout of other people's servers: Triton, KServe, a model hub.

The files are copied as they are; what is written beside them are the few lines that each platform
reads. The folder is built under another name and appears when it is whole.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.inference.classifier import Classifier, load_bundle
from pipeline.release.bundle import Manifest, copy_files, verify_bundle
from pipeline.release.registry import check_name
from pipeline.store.files import new_folder

Platform = Literal["triton", "kserve", "hub"]
_TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}
_MAX_BATCH, _DELAY_US = 32, 500
_LABELS = "labels.txt"


def package(
    bundle: Path, out: Path, platform: Platform, *, name: str, storage_uri: str | None = None
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

    Raises:
        InputError: when the folder exists, or the bundle is not what its manifest says.
    """
    check_name(name)
    if platform == "kserve" and not storage_uri:
        raise InputError(
            "KServe needs to know where the cluster finds the files: give --storage-uri, such as "
            "s3://bucket/folder or pvc://claim/folder."
        )
    with new_folder(out) as folder:
        if platform == "hub":
            _write_hub(bundle, folder)
            return
        _write_triton(bundle, verify_bundle(bundle), folder, name)
        if platform == "kserve":
            service = _inference_service(name, str(storage_uri))
            (folder / "inferenceservice.yaml").write_text(service, encoding="utf-8")


def _write_hub(bundle: Path, folder: Path) -> None:
    copy_files(bundle, folder)
    lines = (
        f"{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in ("*.onnx", "*.safetensors")
    )
    (folder / ".gitattributes").write_text("".join(lines), encoding="utf-8")


def _write_triton(bundle: Path, manifest: Manifest, folder: Path, name: str) -> None:
    version = folder / name / "1"
    version.mkdir(parents=True)
    shutil.copyfile(bundle / manifest.model, version / "model.onnx")
    classifier = load_bundle(bundle, threads=1)
    config = _triton_config(name, classifier)
    (folder / name / "config.pbtxt").write_text(config, encoding="utf-8")
    if classifier.labels:
        labels = "".join(f"{label}\n" for label in classifier.labels)
        (folder / name / _LABELS).write_text(labels, encoding="utf-8")


def _triton_config(name: str, classifier: Classifier) -> str:
    """Return the model's configuration: dimensions are without the batch, as Triton counts."""
    found = classifier.session.get_outputs()
    # The columns of a graph's only output have the labels' names.
    is_named = classifier.labels and len(found) == 1
    named = f' label_filename: "{_LABELS}"' if is_named else ""
    inputs = ",\n".join(f"  {{ {_tensor(each)} }}" for each in classifier.session.get_inputs())
    outputs = ",\n".join(f"  {{ {_tensor(each)}{named} }}" for each in found)
    return f"""name: "{name}"
backend: "onnxruntime"
max_batch_size: {_MAX_BATCH}
input [
{inputs}
]
output [
{outputs}
]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{ max_queue_delay_microseconds: {_DELAY_US} }}
version_policy {{ latest {{ num_versions: 1 }} }}
"""


# Any: onnxruntime has no types.
def _tensor(each: Any) -> str:
    """Return a tensor's name, type and dimensions."""
    sizes = ", ".join(str(size if isinstance(size, int) else -1) for size in each.shape[1:])
    return f'name: "{each.name}" data_type: {_TYPES[each.type]} dims: [ {sizes} ]'


def _inference_service(name: str, storage_uri: str) -> str:
    """Return the manifest; JSON is YAML, and needs no care with quotes."""
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
                        "limits": {"cpu": "2", "memory": "1Gi"},
                    },
                }
            }
        },
    }
    return json.dumps(service, indent=2) + "\n"
