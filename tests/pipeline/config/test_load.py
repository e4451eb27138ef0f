from pathlib import Path

import pytest
from pydantic import ValidationError
from support.damage import damages, problems

from pipeline.config import GateConfig, ModelConfig
from pipeline.config.load import load_config
from pipeline.errors import InputError

MINIMAL = """
[data]
train = "texts.csv"
labels = ["negative", "positive"]

[teacher]
model = "some/model"
"""


@pytest.fixture
def load(tmp_path):
    def load(text=MINIMAL, overrides=()):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return load_config(path, overrides)

    return load


def problems_of(load, text=MINIMAL, overrides=()):
    """Return the lines of the error, without the first."""
    with pytest.raises(InputError) as caught:
        load(text, overrides)
    return str(caught.value).splitlines()[1:]


def test_minimal_config_is_complete_by_defaults(load):
    config = load()

    assert config.data.labels == ("negative", "positive")
    assert config.data.text_columns == ("text",)
    assert config.distill.learning_rate < config.finetune.learning_rate
    assert config.runs_dir == Path("runs")


def test_every_shipped_config_is_valid():
    folder = Path(__file__).parents[3] / "configs"

    configs = [load_config(path) for path in sorted(folder.glob("*.toml"))]

    assert configs


def test_sections_are_frozen(load):
    config = load()

    with pytest.raises(ValidationError, match="frozen"):
        config.data.train = "other.csv"
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1


def test_all_problems_are_reported_at_once(load):
    text = 'nam = "x"\n' + MINIMAL + '[finetune]\nlearnin_rate = 1\nbatch_size = 0\nepochs = "many"'

    with pytest.raises(InputError, match="4 problems") as caught:
        load(text)

    message = str(caught.value)
    assert "run.toml" in message
    assert "nam: unknown key; did you mean 'name'?" in message
    assert "finetune.learnin_rate: unknown key; did you mean 'learning_rate'?" in message
    assert "finetune.batch_size: Input should be greater than or equal to 1, found 0" in message
    assert "finetune.epochs" in message
    assert "found 'many'" in message


def test_missing_tables_are_named(load):
    assert problems_of(load, "") == [
        "  data: missing, and it has no default",
        "  teacher: missing, and it has no default",
    ]


def test_single_problem_is_announced_as_one(load):
    with pytest.raises(InputError, match="has 1 problem:"):
        load(MINIMAL, ["seed=-1"])


def test_key_without_a_near_miss_lists_the_known_ones(load):
    (line,) = problems_of(load, MINIMAL + "[gate]\nzzz = 1")

    known = ", ".join(GateConfig.model_fields)
    assert line == f"  gate.zzz: unknown key; known: {known}"


def test_near_miss_in_a_nested_table(load):
    (line,) = problems_of(load, MINIMAL + "[teacher.adapter]\nbottleneck = 8")

    assert line == "  teacher.adapter.bottleneck: unknown key; did you mean 'bottleneck_size'?"


def test_near_miss_in_an_optional_table(load):
    (line,) = problems_of(load, MINIMAL + '[student.model]\nmodel = "m"\nsha25 = "0"')

    assert line == "  student.model.sha25: unknown key; did you mean 'sha256'?"


@pytest.mark.parametrize(
    ("override", "key"),
    [("data.validation_size=2.5", "data.validation_size"), ("data.text=5", "data.text")],
)
def test_value_of_several_types_is_one_problem_under_its_own_key(load, override, key):
    lines = problems_of(load, MINIMAL, [override])

    assert [line.strip().split(":")[0] for line in lines] == [key]


def test_broken_rules_of_one_table_are_reported_together(load):
    lines = problems_of(
        load, MINIMAL, ['data.text=["a", "b", "c"]', 'data.labels=["x", "x"]', "data.max_length=1"]
    )

    text = "\n".join(lines)
    assert "one or two column names" in text
    assert "distinct names" in text
    assert "data.max_length" in text


def test_override_sets_a_nested_value(load):
    config = load(MINIMAL, ["teacher.adapter.bottleneck_size=8", "finetune.epochs = 0.5"])

    assert config.teacher.adapter.bottleneck_size == 8
    assert config.finetune.epochs == 0.5


def test_override_of_a_missing_table_makes_it(load):
    config = load(MINIMAL, ["student.model.model=other/model"])

    assert config.student.model == ModelConfig(model="other/model")


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.train=package://movies/a.csv", "package://movies/a.csv"),
        ("data.train=owner/name@train", "owner/name@train"),
        ('data.train="quoted.csv"', "quoted.csv"),
        ("data.train=a=b.csv", "a=b.csv"),
        ("data.train= spaced.csv ", "spaced.csv"),
    ],
)
def test_override_that_is_not_toml_is_a_string(load, override, value):
    assert load(MINIMAL, [override]).data.train == value


def test_overrides_may_be_lists_and_tables(load):
    config = load(MINIMAL, ["student.layers=[0, 2]", 'data.filter={source = "press"}'])

    assert config.student.layers == (0, 2)
    assert config.data.filter == {"source": "press"}


def test_later_override_wins(load):
    assert load(MINIMAL, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("override", ["seed", "=3", ""])
def test_override_without_key_or_value_is_refused(load, override):
    with pytest.raises(InputError, match=r"--set expects key.path=value"):
        load(MINIMAL, [override])


def test_override_below_a_value_is_refused(load):
    with pytest.raises(InputError, match="'train' is a value, not a table"):
        load(MINIMAL, ["data.train.x=1"])


def test_unknown_override_is_reported_like_an_unknown_key(load):
    (line,) = problems_of(load, MINIMAL, ["finetune.batchsize=4"])

    assert line == "  finetune.batchsize: unknown key; did you mean 'batch_size'?"


def test_broken_toml_is_refused_with_its_place(load):
    with pytest.raises(InputError, match=r"run.toml is not valid TOML: .*line 2"):
        load("seed = 1\nname = =")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read the config .*absent.toml"):
        load_config(tmp_path / "absent.toml")


def test_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InputError, match="Cannot read the config"):
        load_config(path)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("from = 'a'\nfusio = 'b'", "teacher.adapter.fusio: unknown key; did you mean 'fusion'?"),
        ("from = ['a', 'b']", "teacher.adapter: several adapters: say how they work together"),
        (
            "from = ['a', 'b']\ntogether = 'stack'\nfusion = 'c'",
            "teacher.adapter: together and fusion exclude each other",
        ),
        ("from = 'a'\nkind = 'houlsby'", "teacher.adapter.kind: unknown key; known: from, "),
        ("from = 'a'\ntogether = 'sum'", "teacher.adapter.together: Input should be 'stack', "),
        ("from = 'a'\ntogether = 'fuse'", "teacher.adapter: together = 'fuse' needs several"),
        ("kind = 'big'", "teacher.adapter.kind: Input should be 'houlsby', 'pfeiffer' or"),
    ],
)
def test_wrong_adapter_table_is_told_by_its_own_keys(load, table, problem):
    (line,) = problems_of(load, MINIMAL + "[teacher.adapter]\n" + table)

    assert line.strip().startswith(problem)


def test_latency_in_ms_wants_the_ladder_that_measures_it(load):
    text = MINIMAL + "[gate]\nmax_latency_ms = 2.0\n[benchmark]\nladder_blocks = 0\n"

    (problem,) = problems_of(load, text)

    assert "set benchmark.ladder_blocks to 3 or more, now 0" in problem


def keys_of(tree, above=()):
    for key, value in tree.items():
        yield ".".join((*above, key))
        if isinstance(value, dict):
            yield from keys_of(value, (*above, key))


def test_any_value_of_any_key_is_accepted_or_refused_by_its_path(load, tmp_path):
    config = load()
    tables = ["compare", "sweep", "student.model", "teacher.adapter.from", "data.filter"]
    values = ["true", "-1", "0", "nan", "1e400", "'x'", "[]", "[1]", "{x = 1}", "1979-05-27", "[["]
    wrong = []
    for number, key in enumerate([*keys_of(config.model_dump()), *tables]):
        for value in values[number % 3 :: 3]:
            try:
                load(MINIMAL, [f"{key}={value}"])
            except InputError as error:
                if str(tmp_path) not in str(error) and key not in str(error):
                    wrong.append((key, value, str(error)))
            except Exception as error:
                wrong.append((key, value, repr(error)))

    assert wrong == []


def test_damaged_config_is_refused_or_harmless(tmp_path):
    sound = tmp_path / "sound"
    sound.mkdir()
    (sound / "run.toml").write_text(MINIMAL)
    chosen = (each for seed in range(20) for each in damages(sound, seed=seed))

    found = problems(sound, tmp_path, lambda f: load_config(f / "run.toml"), chosen=chosen)
    assert found == []


@pytest.mark.parametrize("text", ["seed = " + "9" * 5000, "a = " + "[" * 10_000])
def test_toml_that_python_cannot_hold_is_refused(load, text):
    with pytest.raises(InputError, match=r"run\.toml is not valid TOML"):
        load(text)


@pytest.mark.parametrize("value", ['runs_dir="a\\u0000b"', 'data.labels=["a\\u0000"]'])
def test_null_byte_is_refused_wherever_it_is(load, value):
    with pytest.raises(InputError, match="null byte"):
        load(overrides=[value])
