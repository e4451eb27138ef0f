"""Which model is served under a name, and the following of its champion.

When the alias moves, the new version is loaded beside the old one: digests checked, golden inputs
answered, kernels warmed up. Then one reference changes. What is running finishes on the old model,
which goes when its last call ends. A version that fails in any of this is not served; the old one
stays, and the new one is tried again after a growing pause.
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.inference.classifier import Classifier
from pipeline.release.bundle import MANIFEST, open_bundle
from pipeline.serving.batching import Batcher, Served
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
    served: Served | None = None
    batcher: Batcher = field(init=False)

    def get(self) -> Served | None:
        """Return the model that answers the next call."""
        return self.served


def make_slot(name: str, settings: ServeSettings, metrics: ServerMetrics) -> Slot:
    """Return an empty slot with its queue."""
    slot = Slot(name=name)
    slot.batcher = Batcher(name, slot.get, settings, metrics)
    return slot


def load(bundle: Path, *, sha256: str, version: int, threads: int) -> Served:
    """Return a verified, warmed-up model.

    Raises:
        InputError: when the bundle is damaged or computes something else than it should.
    """
    classifier = open_bundle(bundle, sha256=sha256, threads=threads)
    max_tokens = classifier.encoder.settings.max_length
    for texts in _WARM_UP_TEXTS:
        classifier.outputs([("warm " * min(16, max_tokens),)] * texts)
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


def load_fixed(bundle: Path, *, threads: int) -> Served:
    """Return the model of a bundle outside a registry; its own manifest is what it must match."""
    manifest = bundle / MANIFEST
    digest = sha256_file(manifest) if manifest.is_file() else None
    return load(bundle, sha256=digest or "", version=0, threads=threads)


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
                _keep_old(sighting, sighting.error, metrics)
                continue
            slot = slots[sighting.name]
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
            )
        except Exception as error:  # the old model serves on, whatever went wrong
            _keep_old(sighting, str(error), metrics)
            await asyncio.sleep(_PAUSES_S[min(attempt, len(_PAUSES_S) - 1)])
            attempt += 1
        else:
            install(slot, served, metrics)
            metrics.reloads.labels(slot.name, "swapped").inc()
            await asyncio.sleep(settings.deadline_ms / 1000)  # the old model's last call is over
            await asyncio.to_thread(give_back)


def _keep_old(sighting: Sighting, reason: str, metrics: ServerMetrics) -> None:
    metrics.reloads.labels(sighting.name, "failed").inc()
    logger.error(
        "the champion could not be loaded; what was served before is served on",
        extra={"facts": {"model": sighting.name, "reason": reason}},
    )
