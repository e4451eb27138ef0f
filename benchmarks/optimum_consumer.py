"""A packaged bundle, loaded by Optimum as it is: do its logits match the bundle's golden ones?

    adapter-distill package runs/latest/student --for hub --out hub
    python -m venv venv && venv/bin/pip install 'optimum-onnx[onnxruntime]' torch
    venv/bin/python benchmarks/optimum_consumer.py hub

Optimum needs transformers 4, so it runs in an environment of its own. Nothing of this project is
imported here. Each text is read alone, by every ONNX file of the bundle.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

FILES = ("model.onnx", "model_quantized.onnx")


def main() -> None:
    """Print the largest difference of a logit, by file."""
    # Not at the top: the project's own environment has no Optimum, and a test imports this file.
    import torch
    from optimum.onnxruntime import ORTModelForSequenceClassification
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="as packaged for a hub")
    bundle = parser.parse_args().bundle
    golden = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    expected = torch.tensor(golden["outputs"])
    found: dict[str, object] = {
        "served": golden["model"],
        "tolerance": golden["tolerance"],
        "texts": len(expected),
        **{name: version(name) for name in ("optimum", "optimum-onnx", "transformers")},
    }
    for name in FILES:
        model = ORTModelForSequenceClassification.from_pretrained(
            bundle, subfolder="onnx", file_name=name, provider="CPUExecutionProvider"
        )
        logits = torch.cat(
            [
                model(**tokenizer(text, truncation=True, return_tensors="pt")).logits
                for text in golden["texts"]
            ]
        )
        found[name] = {
            "largest_difference": float((logits - expected).abs().max()),
            "same_label": bool((logits.argmax(1) == expected.argmax(1)).all()),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
