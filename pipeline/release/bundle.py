"""A student's bundle that travels: sealed with digests and golden predictions, verified at load.

``manifest.json`` lists the sha256 of every file; a registry remembers the manifest's own digest.
``golden.json`` holds a few inputs, with the outputs of the ONNX file on the machine that made it. A
bundle must give the same outputs wherever it is loaded. The inputs are drawn from the tokenizer's
vocabulary, so no text of the data leaves with the bundle.

A manifest proves that nothing changed, not who wrote it. Give the manifest's digest for a bundle
from elsewhere. Files that it does not list (a hub's ``.gitattributes``) are never read.
"""

import json
import random
import shutil
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from pipeline.config.provider import Provider
from pipeline.config.section import accept_old_name
from pipeline.errors import InputError, refusing
from pipeline.inference.classifier import (
    MODEL,
    PARTS,
    RUNTIME,
    Classifier,
    load_bundle,
    read_runtime,
)
from pipeline.inference.session import DATA
from pipeline.inference.thresholds import THRESHOLDS
from pipeline.release.sbom import bill_of_versions
from pipeline.store.digests import sha256_file
from pipeline.store.files import new_folder, write_atomic
from pipeline.store.json_files import read_json
from pipeline.store.stage import describe_files

MANIFEST, GOLDEN, SBOM = "manifest.json", "golden.json", "sbom.json"
_GOLDEN_LENGTHS = (1, 3, 8, 16, 32, 1000)
"""Tokens of the golden texts; the last is longer than any student reads, and gets truncated."""
_LARGEST_JSON_BYTES, _LONGEST_PATH_BYTES = 16 * 1024**2, 200
# int8 kernels saturate differently from one instruction set to the next.
_TOLERANCE, _TOLERANCE_QUANTIZED = 1e-3, 0.5


def _confined(path: str) -> str:
    """Refuse a path that leads out of its folder, on any system."""
    parts = PurePosixPath(path).parts
    is_plain = parts and path == "/".join(parts) and not path.startswith("/")
    is_plain = is_plain and len(path.encode()) <= _LONGEST_PATH_BYTES
    if not is_plain or ".." in parts or any(sign in path for sign in ("\\", ":", "\0")):
        raise ValueError(f"{path!r} is not a plain path below the bundle")
    return path


ConfinedPath = Annotated[str, AfterValidator(_confined)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class File(_Frozen):
    """One file of a bundle."""

    path: ConfinedPath
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class Manifest(_Frozen):
    """Contents of a bundle."""

    format: Literal[1] = 1
    model: ConfinedPath
    """The ONNX file to serve."""
    files: tuple[File, ...]
    """Every file but the manifest itself."""

    def find(self, path: str) -> File | None:
        """Return the entry of a file, or None."""
        return next((file for file in self.files if file.path == path), None)


class Golden(_Frozen):
    """Inputs, with the outputs that each must give."""

    model: ConfinedPath
    texts: tuple[str | tuple[str, str], ...] = Field(min_length=1)
    outputs: tuple[tuple[float, ...], ...]
    """(texts, outputs per text); those of a text's words, one after another."""
    tolerance: float = Field(gt=0)
    """Accepted difference of an output, times max(1, largest output)."""

    _old_name = model_validator(mode="before")(accept_old_name("logits", "outputs"))


Content = TypeVar("Content", bound=_Frozen)
_MANIFEST, _GOLDEN = TypeAdapter(Manifest), TypeAdapter(Golden)


def seal_bundle(bundle: Path) -> Manifest:
    """Write golden predictions, bill of versions and manifest into a finished bundle.

    Args:
        bundle: The student's folder; whatever is in it becomes part of it. Its
            ``onnx/runtime.json`` says which ONNX file is served.
    """
    model = f"onnx/{read_runtime(bundle).file}"
    golden = _make_golden(load_bundle(bundle, threads=1), model)
    write_atomic(bundle / GOLDEN, golden.model_dump_json(indent=2))
    write_atomic(bundle / SBOM, json.dumps(bill_of_versions(), indent=2))
    files = tuple(
        File(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)
        for file in describe_files(bundle)
        if file.path != MANIFEST
    )
    manifest = Manifest(model=model, files=files)
    write_atomic(bundle / MANIFEST, manifest.model_dump_json(indent=2))
    return manifest


def verify_bundle(bundle: Path, *, sha256: str | None = None) -> Manifest:
    """Return the manifest once every file that it lists is there with its digest.

    Args:
        bundle: Folder of the bundle.
        sha256: What the manifest's own digest must be, where that is known.

    Raises:
        InputError: when a file is missing, changed, or a link out of the folder.
    """
    manifest = _read_manifest(bundle, sha256)
    _check(bundle, manifest.files)
    return manifest


def open_bundle(
    bundle: Path, *, sha256: str | None = None, threads: int = 0, provider: Provider = "cpu"
) -> Classifier:
    """Return the classifier of a sealed bundle, after checking every file that it reads.

    The digests of the files that serving reads are checked, not those of the torch weights. Then
    the golden inputs must give the golden outputs.

    Raises:
        InputError: when a digest, a file's content or a golden prediction is wrong.
    """
    manifest = _read_manifest(bundle, sha256)
    wanted = [*PARTS, GOLDEN, manifest.model]
    # They say what is run, and how it is read, and so they must be listed.
    optional = (RUNTIME, THRESHOLDS, manifest.model + DATA)
    wanted += [name for name in optional if (bundle / name).exists()]
    found = [manifest.find(path) for path in wanted]
    if missing := [path for path, file in zip(wanted, found, strict=True) if file is None]:
        raise InputError(
            f"The manifest of {bundle} does not list {', '.join(missing)}: it is not a classifier "
            "that can be served. Export it again."
        )
    _check(bundle, tuple(file for file in found if file))
    golden = _read(bundle / GOLDEN, _GOLDEN)
    classifier = _load(bundle, manifest.model, threads, provider)
    check_golden(classifier, golden, bundle)
    return classifier


def copy_bundle(bundle: Path, out: Path, *, sha256: str | None = None) -> None:
    """Copy the files of a sealed bundle to a new folder, which appears when it is whole.

    Raises:
        InputError: when the folder exists, or the bundle is not what its manifest says.
    """
    with new_folder(out) as partial:
        copy_files(bundle, partial, sha256=sha256)


def copy_files(bundle: Path, folder: Path, *, sha256: str | None = None) -> None:
    """Copy the files of a sealed bundle into a folder; every digest is checked, here and there.

    Raises:
        InputError: when the bundle is not what its manifest says.
    """
    manifest = verify_bundle(bundle, sha256=sha256)
    for path in (MANIFEST, *(file.path for file in manifest.files)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / path, folder / path)
    verify_bundle(folder, sha256=sha256)


def check_golden(classifier: Classifier, golden: Golden, bundle: Path) -> None:
    """Refuse a model whose outputs on the golden inputs are not those recorded."""
    with refusing(f"{bundle} cannot answer its golden inputs", "Get it anew, or export it again."):
        rows = [_flat_outputs(classifier, text) for text in golden.texts]
    sizes, own = [len(row) for row in rows], [len(row) for row in golden.outputs]
    if own != sizes:
        raise InputError(
            f"{bundle / GOLDEN} has {own} outputs for its texts, expected {sizes}. Export it again."
        )
    found, expected = np.concatenate(rows), np.concatenate([np.array(r) for r in golden.outputs])
    difference = float(np.abs(found - expected).max(initial=0.0))
    accepted = golden.tolerance * max(1.0, float(np.abs(expected).max(initial=0.0)))
    if not difference <= accepted:
        raise InputError(
            f"{bundle} answers its golden inputs with outputs that are {difference:.2e} off, more "
            f"than the accepted {accepted:.2e}. onnxruntime computes other outputs here than on "
            "the machine of the run. Export and measure the student on this kind of machine."
        )


def _load(bundle: Path, model: str, threads: int, provider: Provider) -> Classifier:
    runtime = read_runtime(bundle)
    if f"onnx/{runtime.file}" != model:
        raise InputError(
            f"{bundle / RUNTIME} runs {runtime.file}, and {MANIFEST} serves {model}. Export again."
        )
    # Threads that spin between calls would take the cores from a server's other work.
    quiet = {"session.intra_op.allow_spinning": "0", **runtime.session_config}
    runtime = runtime.model_copy(update={"session_config": quiet, "provider": provider})
    return load_bundle(bundle, threads=threads, runtime=runtime)


def _make_golden(classifier: Classifier, model: str) -> Golden:
    rng = random.Random(0)
    size = classifier.tokenizer.get_vocab_size()
    drawn = [
        classifier.tokenizer.decode([rng.randrange(size) for _ in range(length)])
        for length in _GOLDEN_LENGTHS
    ]
    drawn.append("\N{SNOWMAN} \u4f60\u597d")  # most vocabularies know neither
    layout = classifier.task.layout
    takes_pairs = layout is not None and layout.columns > 1
    texts = tuple((drawn[0], text) if takes_pairs else text for text in drawn)
    outputs = [_flat_outputs(classifier, text) for text in texts]
    return Golden(
        model=model,
        texts=texts,
        outputs=tuple(tuple(map(float, row)) for row in outputs),
        tolerance=_TOLERANCE if model == MODEL else _TOLERANCE_QUANTIZED,
    )


def _flat_outputs(classifier: Classifier, text: str | tuple[str, str]) -> np.ndarray:
    """Return all outputs of one text or pair; 0 for a word without any.

    For a language model they are the log-probability of every token.
    """
    given = (text,) if isinstance(text, str) else text
    found = classifier.task.comparable(classifier.outputs([given]))
    outputs: np.ndarray = np.nan_to_num(found[0].ravel(), nan=0.0)
    return outputs


def _read_manifest(bundle: Path, sha256: str | None) -> Manifest:
    path = bundle / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{bundle} has no {MANIFEST}: it is no sealed bundle. Give the student folder of a "
            "finished run, such as runs/latest/student."
        )
    if sha256 is not None and sha256_file(path) != sha256:
        raise InputError(
            f"{path} is not the one that was registered: its digest differs from {sha256}. "
            "Register the bundle again, or get it anew."
        )
    return _read(path, _MANIFEST)


def _read(path: Path, content: TypeAdapter[Content]) -> Content:
    """Return a JSON file of a bundle, checked against its class."""
    if path.stat().st_size > _LARGEST_JSON_BYTES:
        raise InputError(
            f"{path} is larger than 16 MiB: it is no {path.name} of a bundle. Get it anew."
        )
    advice = "Get the bundle anew, or export it again."
    return read_json(path, content, expected=f"a {path.name} of a bundle", advice=advice)


def _check(bundle: Path, files: tuple[File, ...]) -> None:
    """Hold files against the manifest, and tell every difference at once."""
    root = bundle.resolve()
    problems = []
    for file in files:
        path = bundle / file.path
        if not path.is_file():
            problems.append(f"{file.path} is missing")
        elif not path.resolve().is_relative_to(root):
            problems.append(f"{file.path} is a link out of the bundle")
        elif path.stat().st_size != file.size_bytes:
            problems.append(
                f"{file.path} has {path.stat().st_size} bytes instead of {file.size_bytes}"
            )
        elif sha256_file(path) != file.sha256:
            problems.append(f"{file.path} was changed")
    if problems:
        raise InputError(
            f"{bundle} is not what its {MANIFEST} says: {'; '.join(problems)}. Get or make it anew."
        )
