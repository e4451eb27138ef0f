import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.release.bundle import (
    GOLDEN,
    MANIFEST,
    SBOM,
    copy_bundle,
    open_bundle,
    seal_bundle,
    verify_bundle,
)
from pipeline.store.digests import sha256_file

SERVED = ("config.json", "tokenizer.json", "tokenizer_config.json", GOLDEN, "onnx/model.onnx")


@pytest.fixture(scope="module")
def sealed(write_words_bundle, tmp_path_factory):
    """A sealed bundle that no test may change."""
    folder = write_words_bundle(tmp_path_factory.mktemp("sealed") / "student")
    (folder / "model.safetensors").write_bytes(bytes(100))
    seal_bundle(folder)
    return folder


@pytest.fixture
def bundle(sealed, tmp_path):
    """A copy of it that a test may break."""
    return shutil.copytree(sealed, tmp_path / "student")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def list_again(bundle, path):
    """Let the manifest agree with a file that was changed: only later checks can find it."""

    def change(manifest):
        for file in manifest["files"]:
            if file["path"] == path:
                file["sha256"] = sha256_file(bundle / path)
                file["size_bytes"] = (bundle / path).stat().st_size

    edit(bundle / MANIFEST, change)


def test_sealed_bundle_opens_and_predicts(sealed):
    classifier = open_bundle(sealed, sha256=sha256_file(sealed / MANIFEST))

    assert classifier.labels == ("negative", "positive")
    assert classifier.outputs([("good film",)]).shape == (1, 2)


def test_manifest_lists_every_file(sealed):
    manifest = verify_bundle(sealed)

    files = {p.relative_to(sealed).as_posix() for p in sealed.rglob("*") if p.is_file()}
    assert {file.path for file in manifest.files} == files - {MANIFEST}


def test_sealing_twice_gives_the_same_manifest(bundle):
    before = sha256_file(bundle / MANIFEST)

    seal_bundle(bundle)

    assert sha256_file(bundle / MANIFEST) == before


def test_bill_of_versions_names_what_computes(sealed):
    bill = json.loads((sealed / SBOM).read_text())

    assert bill["bomFormat"] == "CycloneDX"
    assert {"onnxruntime", "torch", "tokenizers"} <= {each["name"] for each in bill["components"]}


@pytest.mark.parametrize("path", [*SERVED, "model.safetensors"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_any_damaged_file_is_found_and_named(bundle, path, damage):
    content = (bundle / path).read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    if damage == "gone":
        (bundle / path).unlink()
    else:
        (bundle / path).write_bytes(flipped if damage == "flipped" else content[:-1])

    with pytest.raises(InputError, match=path):
        verify_bundle(bundle)
    if path in SERVED:
        with pytest.raises(InputError, match=path):
            open_bundle(bundle)


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "onnx/../../secret", "C:\\secret", "a//b", ".", ""]
)
@pytest.mark.parametrize("where", ["model", "files"])
def test_paths_out_of_the_bundle_are_refused(bundle, path, where):
    def change(manifest):
        if where == "model":
            manifest["model"] = path
        else:
            manifest["files"][0]["path"] = path

    edit(bundle / MANIFEST, change)

    with pytest.raises(InputError, match="not a plain path below the bundle"):
        open_bundle(bundle)


def test_a_link_out_of_the_bundle_is_refused(bundle, tmp_path):
    outside = tmp_path / "outside.json"
    shutil.move(bundle / "config.json", outside)
    (bundle / "config.json").symlink_to(outside)

    with pytest.raises(InputError, match="link out of the bundle"):
        open_bundle(bundle)


def test_another_manifest_than_the_registered_one_is_refused(bundle):
    registered = sha256_file(bundle / MANIFEST)
    edit(bundle / MANIFEST, lambda manifest: manifest["files"].pop())

    with pytest.raises(InputError, match="registered"):
        verify_bundle(bundle, sha256=registered)


def test_files_that_the_manifest_does_not_list_do_no_harm(bundle):
    (bundle / ".gitattributes").write_text("*.onnx filter=lfs")

    assert open_bundle(bundle).labels


def test_a_model_that_computes_something_else_fails_its_golden_inputs(
    bundle, write_words_bundle, tmp_path
):
    other = write_words_bundle(tmp_path / "other", seed=1)
    shutil.copyfile(other / "onnx/model.onnx", bundle / "onnx/model.onnx")
    list_again(bundle, "onnx/model.onnx")

    with pytest.raises(InputError, match="golden inputs"):
        open_bundle(bundle)


def test_golden_outputs_by_their_former_name_are_read(bundle):
    edit(bundle / GOLDEN, lambda golden: golden.update(logits=golden.pop("outputs")))
    list_again(bundle, GOLDEN)

    assert open_bundle(bundle).labels == ("negative", "positive")


def test_golden_outputs_that_are_no_numbers_are_refused(bundle):
    edit(bundle / GOLDEN, lambda golden: golden["outputs"][0].__setitem__(0, "nan"))
    list_again(bundle, GOLDEN)

    with pytest.raises(InputError):
        open_bundle(bundle)


def test_a_tokenizer_that_panics_at_its_first_text_is_refused(bundle):
    """Found by benchmarks/fuzz.py: tokenizers reads this file, and what it raises later is no
    `Exception`."""

    def change(tokenizer):
        pieces = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}]
        template = {"single": pieces, "pair": pieces, "special_tokens": {}}
        tokenizer["post_processor"] = {"type": "TemplateProcessing", **template}

    edit(bundle / "tokenizer.json", change)
    list_again(bundle, "tokenizer.json")

    with pytest.raises(InputError, match="the tokenizer panicked"):
        open_bundle(bundle)


def test_a_bundle_without_manifest_says_what_to_give(bundle):
    (bundle / MANIFEST).unlink()

    with pytest.raises(InputError, match=r"manifest\.json.*finished run"):
        open_bundle(bundle)


def test_copies_are_whole_or_absent(bundle, tmp_path):
    copy_bundle(bundle, tmp_path / "copy")
    (bundle / "model.safetensors").write_bytes(b"changed")

    with pytest.raises(InputError, match="safetensors"):
        copy_bundle(bundle, tmp_path / "second")
    with pytest.raises(InputError, match="exists already"):
        copy_bundle(bundle, tmp_path / "copy")
    assert verify_bundle(tmp_path / "copy")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "student"]


def test_external_data_outside_the_bundle_is_not_read(bundle, tmp_path):
    import onnx

    path = bundle / "onnx" / "model.onnx"
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    shutil.move(bundle / "onnx" / "w.bin", tmp_path / "w.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = os.path.relpath(tmp_path / "w.bin", path.parent)
    onnx.save(model, path)
    list_again(bundle, "onnx/model.onnx")

    with pytest.raises(InputError, match="Cannot load"):
        open_bundle(bundle)


@pytest.mark.parametrize("path", [MANIFEST, *SERVED])
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rng=st.randoms(use_true_random=False), count=st.integers(1, 20))
def test_random_damage_that_the_manifest_agrees_with_gives_one_clear_error(
    sealed, tmp_path_factory, path, rng, count
):
    bundle = shutil.copytree(sealed, tmp_path_factory.mktemp("fuzz") / "student")
    content = bytearray((bundle / path).read_bytes())
    for _ in range(count):
        content[rng.randrange(len(content))] = rng.randrange(256)
    (bundle / path).write_bytes(content)
    if path != MANIFEST:
        list_again(bundle, path)

    found = None
    try:
        found = open_bundle(bundle, threads=1).outputs([("good film",)])
    except InputError as error:
        found = str(error)
    shutil.rmtree(bundle)

    is_told = isinstance(found, str) and str(bundle) in found
    assert is_told or found.dtype == np.float32
