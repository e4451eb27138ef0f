import numpy as np
import pytest

from models.token_layout import FOLLOWING, LOG_PROBABILITY, SIZE_BYTES
from pipeline.errors import InputError
from pipeline.inference.cache import first_inputs, next_inputs
from pipeline.inference.classifier import load_bundle
from pipeline.inference.generation import Completion, Limits
from pipeline.tasks.causal_lm import CAUSAL_LM


@pytest.fixture(scope="module")
def model(write_language_bundle, tmp_path_factory):
    return load_bundle(write_language_bundle(tmp_path_factory.mktemp("language") / "student"))


def logits_of(model, ids):
    """Return the logits of a whole text, (T, V)."""
    ids = np.array([ids], dtype=np.int64)
    return model.session.run(["logits"], first_inputs(model.session, ids, np.ones_like(ids)))[0][0]


def test_bundle_is_known_as_a_language_model(model):
    assert model.task is CAUSAL_LM
    assert model.labels == ()
    assert model.writer.positions == 96


def test_tokens_are_the_likeliest_ones_of_the_text_so_far(model):
    ids = model.writer.read("the film is")

    found = model.writer.complete("the film is", Limits(tokens=8)).ids

    expected = ids.tolist()
    for _ in found:
        expected.append(int(logits_of(model, expected)[-1].argmax()))
    assert found == expected[len(ids) :]


def test_steps_of_left_padded_texts_are_those_of_each_alone(model):
    texts = [[5, 6, 7, 8, 9, 10], [11, 12, 13]]
    ids = np.array([texts[0], [0, 0, 0, *texts[1]]])
    mask = np.array([[1] * 6, [0, 0, 0, 1, 1, 1]])
    _, *presents = model.session.run(None, first_inputs(model.session, ids[:, :4], mask[:, :4]))

    for at in (4, 5):
        feeds = next_inputs(ids[:, at : at + 1], mask[:, : at + 1], presents)
        logits, *presents = model.session.run(None, feeds)

    for row, text in enumerate(texts):
        np.testing.assert_allclose(logits[row, -1], logits_of(model, text)[-1], rtol=1e-5)


def test_pieces_are_the_text(model):
    completion = Completion()

    pieces = list(model.writer.write(model.writer.read("the"), Limits(tokens=20), completion))

    assert "".join(pieces) == completion.text
    assert len(completion.ids) == 20
    assert completion.ended_by == "tokens"


def test_text_ends_where_the_model_ends_it(model):
    (first,) = model.writer.complete("the", Limits(tokens=1)).ids
    ending = type(model.writer)(
        session=model.session,
        tokenizer=model.writer.tokenizer,
        ends=frozenset({first}),
        positions=96,
    )

    found = ending.complete("the", Limits(tokens=5))

    assert (found.ids, found.text, found.ended_by) == ([], "", "end")


def test_time_ends_a_completion(model):
    assert model.writer.complete("the", Limits(seconds=-1)).ended_by == "time"


def test_positions_end_a_completion(model):
    prompt = model.writer.read("the film " * 8)

    found = model.writer.complete("the film " * 8, Limits(tokens=1000))

    assert len(found.ids) == 96 - len(prompt)


@pytest.mark.parametrize(("prompt", "most"), [("", None), ("the film " * 90, None), ("the a b", 2)])
def test_prompt_without_tokens_or_with_too_many_is_refused(model, prompt, most):
    with pytest.raises(InputError, match=r"The prompt has .* tokens, expected 1 to"):
        model.writer.complete(prompt, Limits(), most=most)


def test_smallest_temperatures_take_the_likeliest_tokens(model):
    likeliest = model.writer.complete("the", Limits(tokens=8)).ids

    for temperature in (1e-12, 5e-324):
        limits = Limits(tokens=8, temperature=temperature, seed=1)
        assert model.writer.complete("the", limits).ids == likeliest


def test_draws_follow_their_seed(model):
    one, same, other = (
        model.writer.complete("the", Limits(tokens=12, temperature=2.0, seed=seed)).ids
        for seed in (1, 1, 2)
    )

    assert one == same != other


def test_readings_are_of_the_texts_own_tokens_and_bytes(model):
    texts = [("the plot \N{EM DASH} fine",), ("film",), ("",)]

    found = model.readings(texts)

    ids = model.encoder.tokenizer.encode(texts[0][0]).ids
    real = found[0][found[0][:, FOLLOWING] >= 0]
    logs = logits_of(model, ids)[:-1]
    logs = logs - np.log(np.exp(logs - logs.max(1, keepdims=True)).sum(1, keepdims=True))
    logs -= logits_of(model, ids)[:-1].max(1, keepdims=True)
    first = len(model.encoder.tokenizer.decode(ids[:1]).encode())
    assert real[:, FOLLOWING].tolist() == ids[1:]
    np.testing.assert_allclose(
        real[:, LOG_PROBABILITY], logs[np.arange(len(ids) - 1), ids[1:]], rtol=1e-4
    )
    assert real[:, SIZE_BYTES].sum() == len(texts[0][0].encode()) - first
    assert not (found[2][:, FOLLOWING] >= 0).any()


def test_pair_is_refused(model):
    with pytest.raises(InputError, match="takes single texts, found a pair"):
        model.readings([("a", "b")])


def test_graph_without_a_cache_is_refused(write_language_bundle, write_bundle, tmp_path):
    bundle = write_language_bundle(tmp_path / "language")
    graph = write_bundle(tmp_path / "other") / "onnx" / "model.onnx"
    (bundle / "onnx" / "model.onnx").write_bytes(graph.read_bytes())

    with pytest.raises(InputError, match=r"expected input_ids, .* past_key_values"):
        load_bundle(bundle)
