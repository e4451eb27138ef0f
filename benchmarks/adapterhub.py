"""Golden cases of the AdapterHub format: how far our outputs are from the library's own.

Each case is a folder with a tiny backbone, what the ``adapters`` library 1.3.0 saved of an adapter
in it, and the output that the library computed. Prints the largest difference of each.

    python -m benchmarks.adapterhub FOLDER_OF_CASES
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

from models.adapters import set_active
from models.architectures import architecture_of
from models.composition import Average, Composition, Stack
from pipeline.adapterhub import load_adapter, load_fusion, read_adapter
from pipeline.adapterhub_head import has_head, load_head
from pipeline.errors import InputError


def composition_of(tree: Any, fused: Composition | None) -> Composition:
    """Return a case's composition."""
    if isinstance(tree, str):
        return tree
    children = tuple(composition_of(child, fused) for child in tree["children"])
    if tree["type"] == "fuse":
        assert fused is not None
        return fused
    return {"stack": Stack, "average": Average}[tree["type"]](children)


def model_of(case: dict[str, Any], backbone: Path) -> Any:
    """Return a case's model, with a stock head of the right size where it has one."""
    if case["head"] is None:
        return getattr(transformers, case["backbone_class"]).from_pretrained(backbone)
    kind = "Token" if case["head"]["type"] == "tagging" else "Sequence"
    model_class = getattr(transformers, f"AutoModelFor{kind}Classification")
    return model_class.from_pretrained(backbone, num_labels=case["head"]["num_labels"])


@torch.no_grad()
def difference(folder: Path) -> float:
    """Return the largest difference of our output to a case's."""
    case = json.loads((folder / "case.json").read_text())
    expected = load_file(folder / "expected.safetensors")
    model = model_of(case, folder / "backbone")
    model.eval()
    architecture = architecture_of(model.config.model_type)
    for adapter in case["adapters"]:
        hub = read_adapter(folder / adapter["folder"], model)
        load_adapter(hub, model, architecture, name=adapter["name"])
        if has_head(folder / adapter["folder"]):
            load_head(folder / adapter["folder"], model)
    fused = (
        load_fusion(folder / "fusion", model, architecture)
        if (folder / "fusion").is_dir()
        else None
    )
    set_active(model, composition_of(case["composition"], fused))
    inputs = {name: expected[name] for name in ("input_ids", "attention_mask")}
    name = case["output"]
    wanted = expected.get(f"{name}_weights_applied_once", expected[name])
    return float((model(**inputs)[name] - wanted).abs().max())


def main(root: Path) -> None:
    """Print a line for every case."""
    for folder in sorted(path.parent for path in root.glob("*/case.json")):
        try:
            print(f"{folder.name:45} {difference(folder):.1e}", flush=True)
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
