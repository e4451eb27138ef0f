import pytest

from pipeline.inference.processor import names_vnni


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: AMD EPYC\nflags\t\t: fpu sse4_2 avx avx2 fma\n", False),
        ("flags\t\t: avx2 avx512f avx512_vnni\n", True),
        ("flags\t\t: avx2 avx_vnni\n", True),
        ("flags\t\t: avx2 avx512f avx512bw\n", False),
        ("Features\t: fp asimd asimddp\n", True),
        ("model name\t: avx512_vnni\n", False),
        ("", False),
    ],
)
def test_dot_products_are_read_from_the_processors_flags(cpuinfo, expected):
    assert names_vnni(cpuinfo) is expected
