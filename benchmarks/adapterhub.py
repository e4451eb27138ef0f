"""Golden cases of the AdapterHub format: how far our outputs are from the library's own.

Each case is a folder with a tiny backbone, an adapter of the ``adapters`` library 1.3.0, and the
library's output. Prints the largest difference of each. The case is then written by us and read
again. Prints the differences of tensors, output and keys of configurations.

    python -m benchmarks.adapterhub FOLDER_OF_CASES

Last result, of 42 cases: the largest difference is 2.1e-06 (for averages, to the output whose
weights are applied once). All are equal after writing and reading. All 7 damaged ones are refused.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

from models.adapters.composition import Average, Composition, Stack
from models.adapters.hooks import set_active
from models.architectures.table import architecture_of
from pipeline.checkpoints.adapterhub.contents import read_tensors
from pipeline.checkpoints.adapterhub.head import has_head, load_head, read_labels
from pipeline.checkpoints.adapterhub.hub_names import with_present_names
from pipeline.checkpoints.adapterhub.reading import (
    load_adapter,
    load_fusion,
    read_adapter,
    read_fusion_settings,
)
from pipeline.checkpoints.adapterhub.writing import write_adapter, write_fusion, write_head
from pipeline.errors import InputError


def composition_of(tree: Any, fused: Composition | None) -> Composition:
    """Return a case's composition."""
    if isinstance(tree, str):
        return tree
    children = tuple(composition_of(child, fused) for child in tree["children"])
    if tree["type"] == "fuse":
        assert fused is not None
        return fused
    if tree["type"] == "average":
        return Average(children, tuple(tree.get("weights") or ()))
    return {"stack": Stack}[tree["type"]](children)


def model_of(case: dict[str, Any], backbone: Path) -> Any:
    """Return a case's model, with a stock head of the right size where it has one."""
    if case["head"] is None:
        return getattr(transformers, case["backbone_class"]).from_pretrained(backbone)
    kind = "Token" if case["head"]["type"] == "tagging" else "Sequence"
    model_class = getattr(transformers, f"AutoModelFor{kind}Classification")
    return model_class.from_pretrained(backbone, num_labels=case["head"]["num_labels"])


def read(folder: Path, adapters: dict[str, Path], fusion: Path, head: Path | None) -> Any:
    """Return a case's model with the adapters, fusion and head in these folders, active."""
    case = json.loads((folder / "case.json").read_text())
    model = model_of(case, folder / "backbone").eval()
    architecture = architecture_of(model.config.model_type)
    settings = {}
    for name, place in adapters.items():
        hub = read_adapter(place, model)
        load_adapter(hub, model, architecture, name=name)
        settings[name] = hub.settings
    if head is not None:
        load_head(head, model)
    fused = load_fusion(fusion, model, architecture) if fusion.is_dir() else None
    set_active(model, composition_of(case["composition"], fused))
    return model, settings, fused


@torch.no_grad()
def check(folder: Path, scratch: Path) -> tuple[float, list[str]]:
    """Return the largest difference of our output to a case's, and what writing changes."""
    case = json.loads((folder / "case.json").read_text())
    expected = load_file(folder / "expected.safetensors")
    adapters = {each["name"]: folder / each["folder"] for each in case["adapters"]}
    head = next((place for place in adapters.values() if has_head(place)), None)
    model, settings, fused = read(folder, adapters, folder / "fusion", head)
    inputs = {name: expected[name] for name in ("input_ids", "attention_mask")}
    output = model(**inputs)[case["output"]]
    wanted = expected.get(f"{case['output']}_weights_applied_once", expected[case["output"]])

    architecture = architecture_of(model.config.model_type)
    written = {name: scratch / name for name in adapters}
    for name, place in written.items():
        write_adapter(place, model, architecture, name, settings[name], model_name="backbone")
    if fused is not None:
        fusion = read_fusion_settings(folder / "fusion")
        write_fusion(scratch / "fusion", model, architecture, fused, fusion, model_name="backbone")
    if head is not None:
        labels = read_labels(head)
        kind = case["head"]["type"]
        write_head(scratch / "head", model, "task", labels, model_name="backbone", head_type=kind)
    again, settings_again, _ = read(
        folder, written, scratch / "fusion", None if head is None else scratch / "head"
    )
    problems = [] if settings == settings_again else ["settings"]
    if not torch.equal(again(**inputs)[case["output"]], output):
        problems.append("output")
    for pattern in ("adapter.safetensors", "pytorch_adapter.bin"):
        for name, place in written.items():
            tensors = read_tensors(place, (pattern,))
            theirs = read_tensors(adapters[name], ("adapter.safetensors", "pytorch_adapter.bin"))
            theirs = with_present_names(theirs, model)
            if tensors.keys() != theirs.keys() or any(
                not torch.equal(tensors[key], theirs[key]) for key in theirs
            ):
                problems.append(f"tensors of {place / pattern}")
    for mine, theirs in [(written[name], adapters[name]) for name in adapters]:
        ours, library = (
            json.loads((f / "adapter_config.json").read_text()) for f in (mine, theirs)
        )
        if ours.keys() != library.keys() or ours["config"].keys() != library["config"].keys():
            problems.append("keys of the configuration")
        free = ("init_weights", "stochastic_depth")
        problems += [
            f"{key}: {ours['config'].get(key)!r} for {value!r}"
            for key, value in library["config"].items()
            if ours["config"].get(key) != value and key not in free
        ]
    return float((output - wanted).abs().max()), problems


def main(root: Path) -> None:
    """Print a line for every case."""
    for folder in sorted(path.parent for path in root.glob("*/case.json")):
        try:
            with tempfile.TemporaryDirectory() as scratch:
                difference, problems = check(folder, Path(scratch))
            rewritten = "; ".join(problems) or "written and read again: equal"
            print(f"{folder.name:45} {difference:.1e}  {rewritten}", flush=True)
        except Exception as error:
            print(f"{folder.name:45} {type(error).__name__}: {str(error)[:150]}", flush=True)
    for folder in sorted((root / "corrupted").glob("*/adapter")):
        model = transformers.AutoModel.from_pretrained(root / "corrupted" / "backbone")
        try:
            adapter = read_adapter(folder, model)
            load_adapter(
                adapter, model, architecture_of(model.config.model_type), name=adapter.name
            )
            print(f"corrupted/{folder.parent.name:35} loaded")
        except InputError as error:
            print(f"corrupted/{folder.parent.name:35} refused: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
