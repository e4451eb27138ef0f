"""The wheel's copy of prefect.yaml, which Prefect's own commands need at the root of a checkout.

Everything else about the package is in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

_FILE = "prefect.yaml"


class _BuildWithDeployments(build_py):
    """Build of the packages, with prefect.yaml beside flows/names.py, which reads it."""

    def run(self) -> None:
        """Build the packages, and copy the file unless they stay in the checkout."""
        super().run()
        if not self.editable_mode:
            self.copy_file(_FILE, str(Path(self.build_lib, "flows", _FILE)))

    def get_source_files(self) -> list[str]:
        """Return the files of a source distribution."""
        return [*super().get_source_files(), _FILE]


setup(cmdclass={"build_py": _BuildWithDeployments})
