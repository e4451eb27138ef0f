import numpy as np

from pipeline.texts.seen import SeenTexts


def test_each_text_is_new_once():
    seen = SeenTexts()

    assert seen.add([("a",), ("b",), ("a",)]).tolist() == [True, True, False]
    assert seen.add([]).tolist() == []
    assert seen.add([("b",), ("c",), ("a", "b")]).tolist() == [False, True, True]


def test_many_parts_are_a_set():
    rng = np.random.default_rng(0)
    seen, known = SeenTexts(), set()
    for _ in range(200):
        texts = [(str(number),) for number in rng.integers(2000, size=rng.integers(40))]
        expected = []
        for text in texts:
            expected.append(text not in known)
            known.add(text)

        assert seen.add(texts).tolist() == expected

    assert sum(map(len, seen.runs)) == len(known)
    assert len(seen.runs) < 12
