"""Time to import an adapter of BERT-base's size, and to switch between adapters.

Makes a random BERT-base and Houlsby adapters (reduction factor 16) in a temporary folder. Prints
seconds of `load_teacher`, of the command line with all its imports, and milliseconds of
`set_active`. The backbone's tensors must stay where they are.

    python -m benchmarks.adapter_switch

Last result, on two idle cores of a 2017 AMD EPYC (AVX2):

    load_teacher              0.84 s, worst of three 0.89 s
    the command line         10.93 s
    set_active               0.211 ms, 99th percentile 0.309 ms; tensors that moved: 0

The command line adds the imports of torch and transformers: 7 s of CPU time.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from adapter_distill import load_teacher
from models.adapters.bottleneck import BottleneckSettings
from models.adapters.hooks import add_adapter, set_active
from models.adapters.site import AdapterSettings
from models.architectures.table import architecture_of
from pipeline.checkpoints.adapterhub.writing import write_adapter, write_head

HOULSBY = AdapterSettings(
    form=BottleneckSettings(bottleneck_size=48, activation="swish"), attention=True, ffn=True
)
SWITCHES = 2000


def make(folder: Path) -> BertForSequenceClassification:
    """Write a random BERT-base, and a Houlsby adapter of it as AdapterHub does."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(num_labels=2)).eval()
    model.save_pretrained(folder / "backbone")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"word{number}" for number in range(len(words), model.config.vocab_size)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = BertTokenizerFast(vocab=vocabulary, model_max_length=512)
    tokenizer.save_pretrained(folder / "backbone")
    for name in ("a", "b"):
        add_adapter(model.bert, architecture_of("bert"), name, HOULSBY, initialisation="small")
    adapter = folder / "adapter"
    write_adapter(adapter, model, architecture_of("bert"), "a", HOULSBY, model_name="backbone")
    write_head(adapter, model, "a", ("no", "yes"), model_name="backbone")
    return model


def main() -> None:
    """Print the three times."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = make(folder)
        seconds = []
        for attempt in range(3):
            begin = time.perf_counter()
            load_teacher(
                folder / "adapter", backbone=str(folder / "backbone"), out=folder / f"out-{attempt}"
            )
            seconds.append(time.perf_counter() - begin)
        print(f"load_teacher          {min(seconds):8.2f} s, worst of three {max(seconds):.2f} s")
        begin = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "flows.cli.main",
            "import-adapter",
            str(folder / "adapter"),
        ]
        places = ["--backbone", str(folder / "backbone"), "--out", str(folder / "out-cli")]
        subprocess.run([*command, *places], check=True, capture_output=True)
        print(f"the command line      {time.perf_counter() - begin:8.2f} s")

    before = {name: tensor.data_ptr() for name, tensor in model.named_parameters()}
    times = []
    for number in range(SWITCHES):
        begin = time.perf_counter()
        set_active(model.bert, "ab"[number % 2])
        times.append(1000 * (time.perf_counter() - begin))
    moved = [name for name, tensor in model.named_parameters() if tensor.data_ptr() != before[name]]
    times.sort()
    print(
        f"set_active            {times[SWITCHES // 2]:8.3f} ms, 99th percentile "
        f"{times[SWITCHES * 99 // 100]:.3f} ms; tensors that moved: {len(moved)}"
    )


if __name__ == "__main__":
    main()
