import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from transformers import pipeline as transformers_pipeline

from pipeline.errors import InputError
from pipeline.release.bundle import seal_bundle, verify_bundle
from pipeline.release.package import package
from pipeline.standalone.predict import predict

NODE = Path(__file__).parents[2] / "node"
TEXTS = ["a good film", "the plot was boring and the actor awful"]


@pytest.fixture(scope="module")
def bundle(tiny_export, tmp_path_factory):
    """A sealed student that no test may change."""
    folder = tmp_path_factory.mktemp("bundle") / "student"
    shutil.copytree(tiny_export.folder / "student", folder)
    seal_bundle(folder)
    return folder


def scores(bundle):
    return [each["scores"] for each in predict(bundle, TEXTS)]


def test_the_hub_layout_is_a_sealed_bundle(bundle, tmp_path):
    package(bundle, tmp_path / "hub", "hub", name="tiny")

    assert verify_bundle(tmp_path / "hub") == verify_bundle(bundle)
    assert "*.onnx filter=lfs" in (tmp_path / "hub" / ".gitattributes").read_text()


def test_transformers_loads_the_hub_layout_as_it_is(bundle, tmp_path):
    package(bundle, tmp_path / "hub", "hub", name="tiny")

    classify = transformers_pipeline("text-classification", model=str(tmp_path / "hub"), top_k=None)
    found = [{each["label"]: each["score"] for each in answer} for answer in classify(TEXTS)]

    for mine, theirs in zip(scores(bundle), found, strict=True):
        assert theirs == pytest.approx(mine, abs=1e-4)


@pytest.mark.skipif(
    shutil.which("node") is None, reason="Node is missing: apt-get install nodejs npm"
)
@pytest.mark.skipif(
    not (NODE / "node_modules").is_dir(),
    reason="transformers.js is missing: npm install --ignore-scripts --prefix tests/node",
)
def test_transformers_js_loads_the_hub_layout_as_it_is(bundle, tmp_path):
    package(bundle, tmp_path / "hub", "hub", name="tiny")

    command = ["node", NODE / "classify.mjs", tmp_path, "hub", "fp32", *TEXTS]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [{each["label"]: each["score"] for each in answer} for answer in json.loads(output)]

    for mine, theirs in zip(scores(bundle), found, strict=True):
        assert theirs == pytest.approx(mine, abs=1e-4)


def test_the_triton_repository_holds_the_model_and_its_signature(bundle, tmp_path):
    package(bundle, tmp_path / "triton", "triton", name="tiny")

    folder = tmp_path / "triton" / "tiny"
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    config = (folder / "config.pbtxt").read_text()
    assert all(f'name: "{each.name}"' in config for each in session.get_inputs())
    assert (folder / "labels.txt").read_text().split() == ["negative", "positive"]


# In a process of its own: Triton's client and KServe claim the same protobuf names.
PARSE = """
import sys
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
config = text_format.Parse(open(sys.argv[1]).read(), ModelConfig())
print([list(each.dims) for each in config.input], list(config.output[0].dims))
accelerators = config.optimization.execution_accelerators
print([
    config.instance_group[0].kind,
    [each.name for each in accelerators.gpu_execution_accelerator],
    [each.name for each in accelerators.cpu_execution_accelerator],
])
"""


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        ("cpu", "[2, [], []]"),
        ("openvino", "[2, [], ['openvino']]"),
        ("cuda", "[1, [], []]"),
        ("tensorrt", "[1, ['tensorrt'], []]"),
    ],
)
def test_tritons_own_schema_takes_the_configuration(bundle, tmp_path, provider, said):
    package(bundle, tmp_path / "triton", "triton", name="tiny", provider=provider)

    path = tmp_path / "triton" / "tiny" / "config.pbtxt"
    command = [sys.executable, "-c", PARSE, str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[0] == "[[-1], [-1], [-1]] [2]"
    # KIND_GPU is 1 in Triton's enumeration, and KIND_CPU 2.
    assert output.splitlines()[1] == said


def test_kserve_asks_for_a_gpu_where_the_provider_needs_one(bundle, tmp_path):
    for provider, gpus in (("cuda", "1"), ("cpu", None)):
        folder = tmp_path / provider
        package(bundle, folder, "kserve", name="t", storage_uri="pvc://a/b", provider=provider)
        found = json.loads((folder / "inferenceservice.yaml").read_text())
        limits = found["spec"]["predictor"]["model"]["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == gpus


def test_provider_that_triton_lacks_is_refused(bundle, tmp_path):
    with pytest.raises(InputError, match=r"Triton has no provider coreml"):
        package(bundle, tmp_path / "triton", "triton", name="tiny", provider="coreml")


def test_kserves_own_classes_give_the_same_manifest(bundle, tmp_path):
    import kserve
    from kserve.api_client import ApiClient
    from kubernetes import client

    package(bundle, tmp_path / "kserve", "kserve", name="tiny", storage_uri="pvc://claim/models")

    found = json.loads((tmp_path / "kserve" / "inferenceservice.yaml").read_text())
    model = found["spec"]["predictor"]["model"]
    expected = kserve.V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1",
        kind="InferenceService",
        metadata=client.V1ObjectMeta(name="tiny"),
        spec=kserve.V1beta1InferenceServiceSpec(
            predictor=kserve.V1beta1PredictorSpec(
                model=kserve.V1beta1ModelSpec(
                    model_format=kserve.V1beta1ModelFormat(name="onnx"),
                    protocol_version="v2",
                    runtime="kserve-tritonserver",
                    storage_uri="pvc://claim/models",
                    resources=client.V1ResourceRequirements(**model["resources"]),
                )
            )
        ),
    )
    theirs = ApiClient().sanitize_for_serialization(expected)
    theirs["spec"]["predictor"]["model"].pop("name")  # the SDK's empty container name
    assert theirs == found
    assert (tmp_path / "kserve" / "tiny" / "1" / "model.onnx").is_file()


def test_kserve_asks_where_the_cluster_finds_the_files(bundle, tmp_path):
    with pytest.raises(InputError, match="--storage-uri"):
        package(bundle, tmp_path / "kserve", "kserve", name="tiny")


@pytest.mark.parametrize("name", ["../tiny", "a/b", 'x" }', ""])
def test_names_that_lead_elsewhere_are_refused(bundle, tmp_path, name):
    with pytest.raises(InputError, match="name"):
        package(bundle, tmp_path / "out", "triton", name=name)
    assert not (tmp_path / "out").exists()


def test_a_damaged_bundle_leaves_nothing_behind(bundle, tmp_path):
    damaged = shutil.copytree(bundle, tmp_path / "damaged")
    (damaged / "tokenizer.json").write_text("{}")

    with pytest.raises(InputError, match=r"tokenizer\.json"):
        package(damaged, tmp_path / "out", "hub", name="tiny")
    assert [each.name for each in tmp_path.iterdir()] == ["damaged"]
