import resource
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.errors import InputError
from pipeline.store.digests import sha256_file, sha256_json
from pipeline.store.files import new_folder, point_to, scratch_folder, write_atomic
from pipeline.store.stage import RECORD, describe_files


def test_sha256_of_a_file_is_the_standard_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")

    # FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "abc") == expected


def test_sha256_of_json_does_not_depend_on_the_order_of_keys():
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})
    assert sha256_json([1, 2]) != sha256_json([2, 1])
    assert sha256_json("ä") != sha256_json("a")


@pytest.mark.parametrize("content", ["new ä", b"\x00\xff"])
def test_atomic_write_replaces_the_content(tmp_path, content):
    path = tmp_path / "file"
    path.write_text("old and longer than the new content")

    write_atomic(path, content)

    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_atomic_write_keeps_the_old_content_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))  # no file above 1 MiB

    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomic(path, bytes(2**21))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_atomic_write_leaves_nothing_when_the_target_cannot_be_replaced(tmp_path):
    (tmp_path / "folder").mkdir()

    with pytest.raises(OSError, match="folder"):
        write_atomic(tmp_path / "folder", "text")

    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_files_are_described_by_relative_path_without_the_record(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"abc")
    (tmp_path / "b" / RECORD).write_bytes(b"of something else")
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / RECORD).write_bytes(b"{}")

    artifacts = describe_files(tmp_path)

    assert [entry.path for entry in artifacts] == ["a", f"b/{RECORD}", "b/x"]
    assert artifacts[2].sha256 == sha256_file(tmp_path / "b" / "x")
    assert artifacts[2].size_bytes == 3


def test_link_leads_to_the_last_folder_it_was_pointed_to(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        point_to(tmp_path / "runs" / "latest", tmp_path / "runs" / name)

    assert (tmp_path / "runs" / "latest").resolve() == (tmp_path / "runs" / "two").resolve()
    assert (tmp_path / "runs" / "latest").readlink() == Path("two")


def test_new_folder_appears_with_all_its_files_when_the_block_ends(tmp_path):
    out = tmp_path / "out"

    with new_folder(out) as partial:
        (partial / "file").write_text("whole")
        assert partial.parent == tmp_path
        assert not out.exists()

    assert (out / "file").read_text() == "whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_new_folder_can_be_read_by_every_user(tmp_path):
    out = tmp_path / "out"

    with new_folder(out) as partial:
        (partial / "inner").mkdir(mode=0o700)
        save_file({"weight": np.zeros(2)}, partial / "inner" / "model.safetensors")

    modes = {path.name: path.stat().st_mode & 0o777 for path in (out, *out.rglob("*"))}
    assert modes == {"out": 0o755, "inner": 0o755, "model.safetensors": 0o644}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_new_folder_leaves_nothing_after_an_exception(tmp_path, error):
    def write_a_part():
        with new_folder(tmp_path / "out") as partial:
            (partial / "file").write_text("a part")
            raise error

    with pytest.raises(error):
        write_a_part()

    assert list(tmp_path.iterdir()) == []


def test_new_folder_makes_its_parents(tmp_path):
    with new_folder(tmp_path / "a" / "b" / "out"):
        pass

    assert (tmp_path / "a" / "b" / "out").is_dir()


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_new_folder_refuses_what_exists_before_any_work(tmp_path, kind):
    out = tmp_path / "out"
    make = {"folder": out.mkdir, "file": out.touch, "dangling link": lambda: out.symlink_to("no")}
    make[kind]()

    with pytest.raises(InputError, match=r"out exists already\. Give another path"):
        new_folder(out).__enter__()

    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_new_folder_does_not_replace_what_another_process_made_meanwhile(tmp_path):
    with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / "out"):
        (tmp_path / "out").mkdir()

    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("path", ["file/out", "x" * 300])
def test_new_folder_that_cannot_be_made_is_refused_with_its_path(tmp_path, path):
    (tmp_path / "file").touch()

    with pytest.raises(InputError, match=f"Cannot make the new folder {tmp_path / path}"):
        new_folder(tmp_path / path).__enter__()


def test_scratch_folder_is_empty_at_first_and_gone_at_last(tmp_path):
    (tmp_path / "scratch" / "0").mkdir(parents=True)
    (tmp_path / "scratch" / "0" / "left").write_text("of a killed process")

    with scratch_folder(tmp_path / "scratch" / "0") as folder:
        assert list(folder.iterdir()) == []
        (folder / "file").write_text("a")
        with scratch_folder(tmp_path / "scratch" / "1") as other:
            assert other.is_dir()
        assert (folder / "file").is_file()

    assert list(tmp_path.iterdir()) == []
