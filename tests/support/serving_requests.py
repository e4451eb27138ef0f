"""Requests to an application without a process, for the tests of the server."""

import asyncio
from typing import Any

import httpx

TEXTS = "/v2/models/tiny/texts"
IDS = [[2, 5, 3], [2, 6, 3]]


def ask(serving: Any, *requests: tuple[str, str, dict[str, Any]], **settings: Any) -> list[Any]:
    """Return the answers to (method, path, options), one after the other."""

    async def run() -> list[httpx.Response]:
        async with serving(**settings) as (client, _, __):
            return [await client.request(m, path, **options) for m, path, options in requests]

    return asyncio.run(run())


def post(serving: Any, path: str, content: Any, **settings: Any) -> httpx.Response:
    """Return the answer to one request with a JSON body."""
    (answer,) = ask(serving, ("POST", path, {"json": content}), **settings)
    return answer


def tensors(
    ids: list[list[int]] = IDS, mask: list[list[int]] | None = None, **more: Any
) -> dict[str, Any]:
    """Return the body of a tensor request for two rows of three tokens."""
    arrays = {"input_ids": ids, "attention_mask": mask or [[1, 1, 1]] * 2}
    inputs = [
        {"name": name, "shape": [2, 3], "datatype": "INT64", "data": data}
        for name, data in arrays.items()
    ]
    return {"inputs": inputs, **more}
