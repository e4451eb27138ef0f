"""Requests that nobody would send; benchmarks/fuzz.py sends far more of them."""

import asyncio

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.serving.application import make_application
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.protocol import Plane, Student
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import make_slot

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["input_ids", "attention_mask", "x"]),
        "shape": st.lists(st.integers(-2, 5), max_size=3),
        "datatype": st.sampled_from(["INT64", "INT32", "FP32", "BYTES", "BOOL", "", "FP16"]),
        "data": st.lists(st.integers() | JSON, max_size=8),
    }
)
ROUTES = ("/v2/models/tiny/infer", "/v2/models/tiny/texts")
BODIES = (
    JSON
    | st.fixed_dictionaries({"inputs": st.lists(TENSOR, max_size=3)})
    | st.fixed_dictionaries({"texts": st.lists(st.text() | JSON, max_size=4)})
)
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(content=st.lists(st.tuples(st.sampled_from(ROUTES), BODIES), min_size=1, max_size=10))
def test_no_json_body_is_a_fault_of_the_server(serving, content):
    async def run():
        async with serving() as (client, _, __):
            return [
                (await client.post(path, content=as_json(body), headers=HEADERS)).status_code
                for path, body in content
            ]

    assert set(asyncio.run(run())) <= {200, 400, 422}


@QUICK
@given(body=st.binary(max_size=200), length=st.none() | st.text("0123456789-", max_size=6))
def test_no_binary_body_is_a_fault_of_the_server(serving, body, length):
    headers = {"content-type": "application/octet-stream"}
    if length is not None:
        headers["inference-header-content-length"] = length

    async def run():
        async with serving() as (client, _, __):
            return [
                (await client.post(p, content=body, headers=headers)).status_code for p in ROUTES
            ]

    assert set(asyncio.run(run())) <= {400, 422}


HEADERS = {"content-type": "application/json"}


def as_json(value):
    import json

    return json.dumps(value).encode()


def unloaded_application():
    options = ServeSettings(champions=("tiny",))
    metrics = ServerMetrics()
    slot = make_slot("tiny", options, metrics)
    return make_application(Plane([Student(slot, options)]), options, metrics)


SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", unloaded_application())


@SCHEMA.parametrize()
@settings(max_examples=10, deadline=None)
def test_every_route_answers_as_its_schema_says(case):
    """Without a model: 503 is then what the schema promises."""
    case.call_and_validate(excluded_checks=[schemathesis.checks.not_a_server_error])
