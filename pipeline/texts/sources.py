"""Fingerprints of the data behind a reference, which change when the data do."""

from huggingface_hub import HfApi

from pipeline.store.digests import sha256_file
from pipeline.store.places import locate


def fingerprint(reference: str) -> str:
    """Return a fingerprint that changes when the data behind a reference change.

    It is the sha256 of a local file, or the newest commit of a hub data set. It is a constant if
    the hub does not answer: the data that were read before then count as current.
    """
    path = locate(reference)
    if path is not None:
        return sha256_file(path) if path.is_file() else ""
    try:
        return str(HfApi().dataset_info(reference.partition("@")[0], timeout=10).sha)
    # The hub client raises HTTP, network and validation errors of several families.
    except Exception:
        return "unknown revision"
