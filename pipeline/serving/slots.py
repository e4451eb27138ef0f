"""The model that is served under a name, which follows the champion.

When the alias moves, the new version is loaded beside the old one. Its digests are checked, its
golden inputs answered and its kernels warmed up. Then one reference changes. The old model answers
the requests that came before, and is dropped with the last of them. A version that fails is not
served. The old one stays, and the new one is tried again after a growing pause.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.provider import Provider
from pipeline.inference.classifier import Classifier
from pipeline.release.bundle import MANIFEST, open_bundle
from pipeline.serving.batching import Batcher
from pipeline.serving.jobs import Served
from pipeline.serving.memory import give_back
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.settings import ServeSettings
from pipeline.serving.watch import Sighting
from pipeline.store.digests import sha256_file

logger = logging.getLogger(__name__)

_PAUSES_S = (1.0, 5.0, 30.0, 300.0)
"""Before the second, third, ... attempt to load a version; the last one is repeated."""
_WARM_UP_TEXTS = (1, 1, 2, 8)
"""Texts per warm-up call."""


@dataclass(kw_only=True, slots=True)
class Slot:
    """A served name: the one piece of state that changes while a server runs."""

    name: str
    batcher: Batcher
    served: Served | None = None
    has_champion: bool = True
    """False once the registry was asked and names none."""
    missing: str = "not loaded yet"
    """Why nothing is served, while nothing is."""


def make_slot(name: str, settings: ServeSettings, metrics: ServerMetrics) -> Slot:
    """Return an empty slot with its queue."""
    return Slot(name=name, batcher=Batcher(name, settings, metrics))


def load(
    bundle: Path, *, sha256: str, version: int, threads: int, provider: Provider = "cpu"
) -> Served:
    """Return a verified, warmed-up model.

    Raises:
        InputError: when the bundle is damaged or computes something else than it should.
    """
    classifier = open_bundle(bundle, sha256=sha256, threads=threads, provider=provider)
    max_tokens = classifier.encoder.settings.max_length
    layout = classifier.task.layout
    pair = ("warm",) if layout is not None and layout.columns > 1 else ()
    text = (*pair, "warm " * min(16, max_tokens))
    for texts in _WARM_UP_TEXTS:
        classifier.outputs([text] * texts)
    return Served(
        classifier=classifier,
        version=version,
        bundle_sha256=sha256,
        labels=classifier.labels,
        max_tokens=max_tokens,
        id_limits=_id_limits(bundle, classifier),
    )


def _id_limits(bundle: Path, classifier: Classifier) -> dict[str, int]:
    """Return how many ids there are for each input of ids, by the model's config."""
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    words = config.get("vocab_size") or classifier.tokenizer.get_vocab_size()
    # Without its number only negative types are refused here, others by the graph.
    types = config.get("type_vocab_size") or sys.maxsize
    return {"input_ids": int(words), "token_type_ids": int(types)}


def load_fixed(bundle: Path, *, threads: int, provider: Provider = "cpu") -> Served:
    """Return the model of a bundle outside a registry; its own manifest is what it must match."""
    manifest = bundle / MANIFEST
    digest = sha256_file(manifest) if manifest.is_file() else None
    return load(bundle, sha256=digest or "", version=0, threads=threads, provider=provider)


def install(slot: Slot, served: Served, metrics: ServerMetrics) -> None:
    """Serve a loaded model from the next call on."""
    old, slot.served = slot.served, served
    if old is not None:
        metrics.version.remove(slot.name, old.bundle_sha256)
    metrics.version.labels(slot.name, served.bundle_sha256).set(served.version)
    was = old.version if old is not None else None
    facts = {"model": slot.name, "version": served.version, "was": was}
    logger.info("serving", extra={"facts": facts})


async def follow(
    slots: Mapping[str, Slot],
    seen: AsyncIterator[Sighting],
    settings: ServeSettings,
    metrics: ServerMetrics,
) -> None:
    """Serve every champion that is seen, until cancelled."""
    loading: dict[str, asyncio.Task[None]] = {}
    try:
        async for sighting in seen:
            if sighting.error:
                _keep_old(slots[sighting.name], sighting.error, metrics)
                continue
            slot = slots[sighting.name]
            slot.has_champion = sighting.version > 0
            if not slot.has_champion:  # what was served before is served on
                slot.missing = "no champion yet"
                continue
            if slot.name in loading:  # a newer one is there: the older needs no more attempts
                loading[slot.name].cancel()
            loading[slot.name] = asyncio.create_task(_swap(slot, sighting, settings, metrics))
    finally:
        for task in loading.values():
            task.cancel()


async def _swap(
    slot: Slot, sighting: Sighting, settings: ServeSettings, metrics: ServerMetrics
) -> None:
    """Load a champion until it succeeds, and serve it."""
    attempt = 0
    while slot.served is None or slot.served.version != sighting.version:
        try:
            served = await asyncio.to_thread(
                load,
                Path(sighting.folder),
                sha256=sighting.sha256,
                version=sighting.version,
                threads=settings.threads,
                provider=settings.provider,
            )
        except Exception as error:  # the old model serves on, whatever went wrong
            _keep_old(slot, str(error), metrics)
            await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            attempt += 1
        else:
            install(slot, served, metrics)
            metrics.reloads.labels(slot.name, "swapped").inc()
            await asyncio.sleep(settings.deadline_ms / 1000)  # no request waits for the old model
            await asyncio.to_thread(give_back)


def _keep_old(slot: Slot, reason: str, metrics: ServerMetrics) -> None:
    metrics.reloads.labels(slot.name, "failed").inc()
    slot.missing = "the champion could not be loaded"
    logger.error(
        "the champion could not be loaded; the previous model is still served",
        extra={"facts": {"model": slot.name, "reason": reason}},
    )
