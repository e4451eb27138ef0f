"""A check that this package finds its own rooms: `flows`, `pipeline` and `models`.

They are top-level packages, and other projects have modules of these names: a file ``models.py``
beside a notebook is enough. Without the check, an import would fail that names neither.
"""

import importlib.util
from pathlib import Path

_ROOMS = ("flows", "pipeline", "models")


def check_rooms() -> None:
    """Refuse a module of another project in the place of a room.

    Raises:
        ImportError: naming the module, and what to do about it.
    """
    here = Path(__file__).resolve().parents[1]
    for name in _ROOMS:
        spec = importlib.util.find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != here / name / "__init__.py":
            raise ImportError(
                f"adapter_distill needs its own package {name!r} in {here}, but Python finds "
                f"{found or 'none'}. Rename that module, or start Python in another folder."
            )
