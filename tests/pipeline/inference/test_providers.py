import numpy as np
import onnx
import onnxruntime as ort
import pytest

from pipeline.errors import InputError
from pipeline.facts.variants import Runtime
from pipeline.inference.providers import BoundCall, check_started, provider_names
from pipeline.inference.session import open_file

FEEDS = {
    "input_ids": np.array([[1, 2, 3]]),
    "attention_mask": np.ones((1, 3), np.int64),
    "token_type_ids": np.zeros((1, 3), np.int64),
}


@pytest.fixture(scope="module")
def file(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("providers") / "model.onnx"
    onnx.save(graph(), path)
    return path


def test_cpu_is_there_alone():
    assert provider_names("cpu") == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("provider", "package"),
    [
        ("cuda", "onnxruntime-gpu"),
        ("tensorrt", "onnxruntime-gpu, and TensorRT"),
        ("openvino", "onnxruntime-openvino"),
        ("coreml", "onnxruntime on macOS"),
    ],
)
def test_provider_that_is_not_installed_is_refused_with_its_package(file, provider, package):
    try:
        provider_names(provider)
    except InputError:
        pass
    else:
        pytest.skip(f"{provider} is installed here")
    said = rf"provider {provider} is not installed.*CPUExecutionProvider.*install {package}\."
    with pytest.raises(InputError, match=said):
        open_file(Runtime(provider=provider), file)


def test_provider_that_onnxruntime_leaves_for_the_cpu_is_refused(file):
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])

    check_started(session, "cpu")
    with pytest.raises(InputError, match=r"provider cuda did not start.*CPUExecutionProvider"):
        check_started(session, "cuda")


def test_bound_call_gives_what_a_call_gives(file):
    session = open_file(Runtime(), file)
    call = BoundCall(session, FEEDS, "cpu")

    call()

    (found,) = call.binding.copy_outputs_to_cpu()
    np.testing.assert_array_equal(found, session.run(None, FEEDS)[0])


def test_provider_is_not_written_into_a_bundle():
    assert "provider" not in Runtime(provider="cuda").model_dump_json()
