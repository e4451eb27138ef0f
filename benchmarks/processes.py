"""How much faster several processes are than one, each with one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.processes [processes] [texts]

Absorption and fine-tuning of the model of `benchmarks/gpu.py`, on the CPU. Seconds are wall time
without the start of the processes. On cores that are busy otherwise the ratio says nothing.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu import Sizes, Study, absorb, fine_tune, make_study
from pipeline.facts.compute import Compute
from pipeline.training.ranks import in_processes


@in_processes
def time_parts(study: Study, out: Path) -> dict[str, float]:
    """Return the seconds of each part."""
    seconds = {}
    for name, work in (("absorption", absorb), ("fine-tuning", fine_tune)):
        started = time.perf_counter()
        work(study, study.sizes.absorbed, out / name)
        seconds[name] = time.perf_counter() - started
    return seconds


def main() -> None:
    """Measure one process and several, and print both."""
    given = [int(each) for each in sys.argv[1:]]
    processes, texts = (*given, *(2, 1_000)[len(given) :])
    sizes = Sizes(absorbed=texts, targets=texts, trained=texts, batch_size=32)
    with tempfile.TemporaryDirectory() as name:
        study = make_study(Path(name), Compute(), sizes)
        found = {}
        for count in (1, processes):
            own = replace(study.context, compute=Compute(processes=count))
            (Path(name) / f"by-{count}").mkdir()
            found[count] = time_parts(replace(study, context=own), Path(name) / f"by-{count}")
    for part, alone in found[1].items():
        shared = found[processes][part]
        print(
            f"{part}: {alone:.1f} s in one process, {shared:.1f} s in {processes}: "
            f"{alone / shared:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
