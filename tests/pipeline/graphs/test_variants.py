from dataclasses import replace

import pytest

from pipeline.facts.quality import Measured
from pipeline.facts.variants import QuantizeFacts, Variant
from pipeline.graphs.variants import FUSED_FILE, VARIANTS, fastest

NOTHING = Measured(values={}, intervals={})
CPU_MS = {
    "fp32": 4.0,
    "fp32, less fused": 3.9,
    "fused": 3.0,
    "int8": 2.0,
    "int8, less fused": 2.1,
}


@pytest.fixture
def facts():
    return QuantizeFacts(
        texts=1,
        confidence=0.95,
        chosen="int8",
        file=VARIANTS["int8"].runtime.file,
        variants=tuple(
            Variant(
                name=name,
                file=way.runtime.file,
                size_bytes=1,
                cost=NOTHING,
                fidelity=NOTHING,
                refused=None,
                cpu_ms=CPU_MS[name],
            )
            for name, way in VARIANTS.items()
        ),
        int8_products=1,
        has_vnni=True,
        fp16_bytes=1,
        fp16_difference=0.0,
    )


def test_fastest_of_each_precision(facts):
    assert fastest(facts, "int8").name == "int8"


def test_fused_file_that_was_not_kept_is_not_counted_on(facts):
    assert fastest(facts, "fp32").name == "fp32, less fused"
    assert fastest(replace(facts, file=FUSED_FILE), "fp32").name == "fused"


def test_refused_precision_is_returned_with_its_reason(facts):
    variants = tuple(
        replace(each, refused="too bad", cpu_ms=None) if "int8" in each.name else each
        for each in facts.variants
    )

    assert fastest(replace(facts, variants=variants), "int8").refused == "too bad"
