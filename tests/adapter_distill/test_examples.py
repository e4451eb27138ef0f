import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import adapter_distill
from pipeline.config import BenchmarkConfig

FOLDER = Path(adapter_distill.__file__).parent
MODULES = sorted(f"adapter_distill.{path.stem}" for path in FOLDER.glob("[!_]*.py"))


def examples():
    finder = doctest.DocTestFinder()
    for name in ("adapter_distill", *MODULES):
        module = importlib.import_module(name)
        given = {**vars(adapter_distill), "Path": Path, "BenchmarkConfig": BenchmarkConfig}
        yield from (each for each in finder.find(module, extraglobs=given) if each.examples)


EXAMPLES = list(examples())


# run() and benchmark() start processes.
@pytest.mark.system
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_docstring_shows_what_happens(examples_folder, example):
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)

    runner.run(example, out=said.append)

    assert not runner.failures, "".join(said)
    assert examples_folder == Path.cwd()


def test_every_public_function_has_an_example():
    shown = {example.name.rpartition(".")[2] for example in EXAMPLES}
    functions = {name for name in adapter_distill.__all__ if name[0].islower()}

    assert functions <= shown


@pytest.mark.system
def test_import_is_light():
    code = (
        "import sys, adapter_distill; print({'torch', 'transformers', 'prefect'} & {*sys.modules})"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"
