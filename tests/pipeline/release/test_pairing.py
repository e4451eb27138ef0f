import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.release.pairing import compare_versions, read_outputs
from pipeline.release.register import register


def test_two_versions_are_paired_text_by_text(registry, write_run, tmp_path):
    old = register(registry, write_run(tmp_path / "one", accuracy=0.8))
    new = register(registry, write_run(tmp_path / "two", seed=1, accuracy=0.82))

    found = compare_versions(registry, old, new)

    # 8 of 400 texts turned right and none wrong: surely better, though the versions' own
    # intervals (0.8 and 0.82, each +-0.04) overlap.
    assert found.paired.texts == 400
    assert found.paired.change.values["accuracy"] == pytest.approx(0.02)
    low, high = found.paired.change.intervals["accuracy"]
    assert 0 < low < 0.02 < high < 0.04


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY"])
def test_damaged_outputs_are_one_error(tmp_path, content):
    path = tmp_path / "outputs.npz"
    path.write_bytes(content)

    with pytest.raises(InputError, match=r"outputs\.npz"):
        read_outputs(path)


def test_pickled_arrays_are_not_loaded(tmp_path):
    path = tmp_path / "outputs.npz"
    np.savez(path, student=np.array([{}], dtype=object), labels=np.zeros(1))

    with pytest.raises(InputError, match="pickle"):
        read_outputs(path)
