"""Whether progress bars are shown: on a terminal and in a notebook, nowhere else."""

import sys


def hides_bars() -> bool | None:
    """Return what tqdm's ``disable`` takes.

    False shows the bar: a notebook's output is no terminal, but someone looks on. None lets tqdm
    hide it where standard error is no terminal.
    """
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    return False if hasattr(shell, "kernel") else None
