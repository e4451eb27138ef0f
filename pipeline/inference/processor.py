"""Instructions of this machine's processor for 8-bit numbers."""

from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@cache
def has_vnni() -> bool:
    """Return whether this processor has 8-bit dot products; False if it does not say."""
    try:
        return names_vnni(_CPUINFO.read_text(encoding="utf-8"))
    except OSError:
        return False


def names_vnni(cpuinfo: str) -> bool:
    """Tell from the text of /proc/cpuinfo whether the processor has 8-bit dot products.

    They are called ``avx512_vnni`` and ``avx_vnni`` on x86, ``asimddp`` on Arm.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    flags = {
        flag
        for name, _, value in lines
        if name.strip().lower() in ("flags", "features")
        for flag in value.split()
    }
    return bool(flags & {"avx512_vnni", "avx_vnni", "asimddp"})
