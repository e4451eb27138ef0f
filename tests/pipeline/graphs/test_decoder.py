"""Graphs with a cache: what the proof needs to know of them, and that a wrong one is refused."""

import json

import numpy as np
import onnx
import pytest
from support.tiny_language import make_decoder, make_language_model

from pipeline.config import ExportConfig
from pipeline.errors import InputError
from pipeline.facts.variants import Runtime
from pipeline.graphs.decoder import write_decoder
from pipeline.graphs.genai import GENAI_CONFIG, write_genai_config
from pipeline.graphs.structure import describe_graph, has_cache, load_graph
from pipeline.graphs.trace import Traced
from pipeline.inference.cache import empty_cache, positions_of
from pipeline.inference.session import open_file
from pipeline.timing.time_cell import make_calls
from pipeline.timing.workload import decode_steps


@pytest.fixture
def file(tmp_path):
    onnx.save(make_decoder(), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_graph_with_a_cache_is_described(file):
    found = describe_graph(file, length=16)

    assert has_cache(load_graph(file))
    assert found.parameters == 300 * 8 + 96 * 8 + 8 * 300


def test_step_is_called_with_as_many_tokens_before(file):
    session = open_file(Runtime(), file)
    (step,) = decode_steps([2], [5], vocabulary=300, seed=0)

    (run,) = make_calls(session, step.calls, past=step.past)

    logits, keys, _ = run()
    assert step.name == "batch 2, 1 token after 5"
    assert logits.shape == (2, 1, 300)
    assert keys.shape == (2, 1, 6, 8)


def test_cache_is_empty_at_first(file):
    found = empty_cache(open_file(Runtime(), file), 3)

    assert {name: array.shape for name, array in found.items()} == {
        "past_key_values.0.key": (3, 1, 0, 8),
        "past_key_values.0.value": (3, 1, 0, 8),
    }


def test_positions_begin_at_the_first_real_token():
    mask = np.array([[1, 1, 1, 0], [0, 0, 1, 1]])

    assert positions_of(mask).tolist() == [[0, 1, 2, 2], [0, 0, 0, 1]]


def test_reader_is_told_of_the_decoders_that_it_knows(tmp_path):
    config = make_language_model("llama").config
    config.save_pretrained(tmp_path)

    write_genai_config(tmp_path, "model_quantized.onnx")

    found = json.loads((tmp_path / GENAI_CONFIG).read_text())["model"]
    assert found["type"] == "llama"
    assert found["decoder"]["filename"] == "onnx/model_quantized.onnx"
    assert (found["decoder"]["num_key_value_heads"], found["decoder"]["head_size"]) == (1, 16)
    assert found["decoder"]["inputs"]["past_key_names"] == "past_key_values.%d.key"


def test_reader_is_not_told_of_others(tmp_path):
    make_language_model("gpt2").config.save_pretrained(tmp_path)

    write_genai_config(tmp_path, "model.onnx")

    assert not (tmp_path / GENAI_CONFIG).exists()


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "mistral", "qwen2", "qwen3"])
def test_every_decoder_equals_torch_in_whole_in_parts_and_by_tokens(model_type, tmp_path):
    traced = Traced(
        model=make_language_model(model_type), name="student", output="logits", max_length=24
    )

    parity = write_decoder(traced, tmp_path / "model.onnx", ExportConfig())

    assert len(parity) == 24
    assert max(check.max_abs_difference for check in parity) < 1e-4


@pytest.mark.slow
def test_tolerance_of_zero_refuses_any_graph(tmp_path):
    traced = Traced(
        model=make_language_model("gpt2"), name="student", output="logits", max_length=24
    )

    with pytest.raises(InputError, match="differs from torch by"):
        write_decoder(traced, tmp_path / "model.onnx", ExportConfig(parity_tolerance=1e-12))
