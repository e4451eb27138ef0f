"""The software bill of a bundle: every distribution that took part in making it, with version.

CycloneDX 1.5 JSON (https://cyclonedx.org/docs/1.5/json), so that scanners read it as it is. Hashes
of the distributions are left out: an installed one is no longer the archive that they belong to.
"""

import functools
import re
from importlib.metadata import PackageNotFoundError, distribution

_ROOT = "adapter-distill"


def bill_of_versions() -> dict[str, object]:
    """Return the bill of this installation: the project and all that it requires, transitively."""
    found = dict(_installed_versions())
    root = {"type": "application", "name": _ROOT, "version": found.pop(_ROOT)}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": root},
        "components": [
            {
                "type": "library",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
            }
            for name, version in sorted(found.items())
        ],
    }


@functools.cache  # reading 200 distributions takes a second, and a run seals several bundles
def _installed_versions() -> dict[str, str]:
    """Return the version of the project and of all that it requires, by canonical name."""
    found: dict[str, str] = {}
    waiting = [_ROOT]
    while waiting:
        name = _canonical(waiting.pop())
        if name in found:
            continue
        try:
            about = distribution(name).metadata
        except PackageNotFoundError:  # of an extra or a platform that is not installed here
            continue
        found[name] = about["Version"]
        needs = [need for need in about.get_all("Requires-Dist") or [] if "extra ==" not in need]
        waiting += [re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0] for need in needs]
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
