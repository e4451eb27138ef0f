import pytest

from pipeline.errors import InputError
from pipeline.facts.data import UnlabelledFacts
from pipeline.facts.training import SoftTargetFacts
from pipeline.stages.soft_targets import SoftTargetSettings, compute_soft_targets
from pipeline.stages.unlabelled import UnlabelledSettings, collect_unlabelled
from pipeline.store.step import step
from pipeline.texts.sources import fingerprint
from pipeline.texts.tables import read_split
from pipeline.texts.unlabelled import read_unlabelled

FRESH = [f"a {word} film, number {number}" for number in range(20) for word in ("fine", "dull")]


@pytest.fixture(scope="module")
def source(tiny_data, tmp_path_factory):
    """A text file: new texts, one of them twice, and some that the splits hold."""
    held = [
        text
        for name in ("train", "validation", "test")
        for (text,) in read_split(tiny_data.folder, name).texts[:2]
    ]
    path = tmp_path_factory.mktemp("unlabelled") / "more.txt"
    path.write_text("\n".join([*FRESH, FRESH[0], *held]))
    return path


@pytest.fixture(scope="module")
def unlabelled(tiny_data, tiny_store, source):
    """``unlabelled(most=None)``: the stage of `source`."""

    def make(most=None, path=source):
        settings = UnlabelledSettings(
            sources=(str(path),),
            digests=(fingerprint(str(path)),),
            columns=("text",),
            subset=None,
            most=most,
        )
        return tiny_store.ensure(
            step(
                "unlabelled",
                collect_unlabelled,
                tiny_data,
                settings=settings,
                facts=UnlabelledFacts,
            )
        )

    return make


def test_texts_of_the_splits_and_repeated_ones_are_left_out(unlabelled):
    stage = unlabelled()

    assert tuple(read_unlabelled(stage.folder)) == tuple((text,) for text in FRESH)
    assert (stage.facts.texts, stage.facts.known) == (40, 7)
    assert stage.facts.said() == ("unlabelled: 40 texts; dropped: 7 that were known already",)


def test_at_most_as_many_as_wanted_are_kept(unlabelled):
    found = read_unlabelled(unlabelled(most=5).folder)

    assert tuple(found) == tuple((text,) for text in FRESH[:5])


def test_source_of_known_texts_alone_is_refused(unlabelled, tiny_data, tmp_path):
    (tmp_path / "known.txt").write_text(read_split(tiny_data.folder, "train").texts[0][0])

    with pytest.raises(InputError, match="no text that is not in a split already"):
        unlabelled(path=tmp_path / "known.txt")


def test_absorption_takes_them_after_the_training_texts(unlabelled, tiny_absorb):
    assert tiny_absorb(unlabelled=unlabelled(), texts=1000).facts.texts == 72 + 40
    assert tiny_absorb(unlabelled=unlabelled(), texts=80).facts.texts == 80
    assert tiny_absorb(texts=1000).facts.texts == 72


def test_distillation_learns_from_them_where_no_labels_are_asked_for(
    unlabelled, tiny_distill, tiny_data, tiny_teacher, tiny_context, tiny_store
):
    targets = tiny_store.ensure(
        step(
            "soft-targets",
            compute_soft_targets,
            tiny_data,
            unlabelled(),
            tiny_teacher,
            settings=SoftTargetSettings(context=tiny_context, texts=None),
            facts=SoftTargetFacts,
        )
    )
    more = {"unlabelled": unlabelled(), "targets": targets, "layers": (1,)}

    def steps(**settings):
        return tiny_distill(**settings).facts.outcome.steps

    assert targets.facts.texts == 72 + 40 + 24
    assert steps(**more) == 7  # of 16: 112 texts
    assert steps(**more, texts=80) == 5
    assert steps(**more, alpha=0.5) == steps(layers=(1,)) == 5  # of 16: 72 texts
