"""Longest silences of a command: how long a user looks at a terminal on which nothing happens.

    python -m benchmarks.silences [--terminal] -- adapter-distill run configs/smoke.toml

Runs the command with its output into a pipe, or into a terminal of its own with bars.
Prints the longest times between two outputs, from the start to the end, each with the line before
it. Bar: none above ten seconds.
"""

import argparse
import os
import pty
import subprocess
import time

_SHOWN = 3


def listen(command: list[str], *, in_terminal: bool) -> tuple[list[tuple[float, str]], int]:
    """Return (seconds of silence, the last line before) of a command, and its exit code."""
    ours, theirs = pty.openpty() if in_terminal else os.pipe()
    last_s, before, silences = time.monotonic(), "(start)", []
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL) as child:
        os.close(theirs)
        while True:
            try:
                heard = os.read(ours, 65536)
            except OSError:  # a terminal that nobody writes to any more
                heard = b""
            now_s = time.monotonic()
            silences.append((now_s - last_s, before))
            if not heard:
                break
            last_s = now_s
            before = (heard.decode(errors="replace").split("\n") or [""])[-2:][0].strip() or before
    os.close(ours)
    return silences, child.returncode


def main() -> None:
    """Run the command and print its longest silences."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--terminal", action="store_true", help="in a terminal of its own")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    silences, code = listen(given.command, in_terminal=given.terminal)
    print(f"exit code {code}, {sum(seconds for seconds, _ in silences):.1f} s")
    for seconds, before in sorted(silences, reverse=True)[:_SHOWN]:
        print(f"{seconds:5.1f} s after: {before[:100]}")


if __name__ == "__main__":
    main()
