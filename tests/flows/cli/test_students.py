import pytest


@pytest.fixture
def texts_file(tmp_path):
    lines = [f"a {word} film, {number}" for number in range(10) for word in ("fine", "dull")]
    path = tmp_path / "texts.txt"
    # A tab is white space: nobody asked for pairs.
    path.write_text("\n".join(lines).replace("film, 3", "film,\t3", 1))
    return path


def test_absorb_makes_a_student_of_a_teacher_and_texts(cli, tiny_teacher, texts_file, tmp_path):
    out = tmp_path / "student"

    code, printed, errors = cli("absorb", tiny_teacher.folder, "--texts", texts_file, "--out", out)

    assert code == 0
    assert "Held-out R² by site, from 20 texts (140 tokens)" in printed
    assert "on held-out texts that the teacher may know:\n  agreement: " in printed
    assert "Traceback" not in errors
    assert (out / "model.safetensors").is_file()
    assert (out / "tokenizer.json").is_file()


def test_absorb_as_lora_makes_a_folder_for_peft(cli, tiny_teacher, texts_file, tmp_path):
    out = tmp_path / "lora"
    arguments = (tiny_teacher.folder, "--texts", texts_file, "--out", out, "--as", "lora")

    code, printed, _ = cli("absorb", *arguments, "--rank", "4")

    assert code == 0
    assert f"student: {out}" in printed
    assert (out / "adapter_model.safetensors").is_file()


def test_lora_of_another_shape_is_refused(cli, tiny_teacher, texts_file, tmp_path):
    arguments = (tiny_teacher.folder, "--texts", texts_file, "--out", tmp_path / "lora")

    code, _, errors = cli("absorb", *arguments, "--as", "lora", "--layers", "0")

    assert code == 2
    assert "expected neither --layers nor --extra-units" in " ".join(errors.split())


def test_inspect_says_what_folds_and_tries_the_rest(cli, tiny_teacher, texts_file):
    code, printed, _ = cli("inspect", tiny_teacher.folder, "--texts", texts_file)

    found = " ".join(printed.split())
    assert code == 0
    assert "adapter task: 8 units, relu, at attention and ffn of each layer" in found
    assert "They do not fold exactly" in found
    assert 'A linear adapter (activation = "linear") folds exactly' in found
    assert "on held-out texts that the teacher may know: agreement: " in found
    assert "for 1,000 texts on this machine" in found


def test_inspect_needs_no_texts(cli, tiny_teacher):
    code, printed, _ = cli("inspect", tiny_teacher.folder)

    assert code == 0
    assert "next: the same with --texts FILE, for a trial" in printed


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--layers", "0,first", "--layers expects numbers"),
        ("--layers", "1,0", "expected increasing numbers"),
        ("--backbone", "nowhere/at-all", "Cannot fetch the model"),
        ("--out", ".", "exists already"),
    ],
)
def test_absorb_refuses_bad_input(cli, tiny_teacher, texts_file, tmp_path, option, value, problem):
    arguments = {"--texts": texts_file, "--out": tmp_path / "student", option: value}

    code, _, errors = cli(
        "absorb", tiny_teacher.folder, *(part for pair in arguments.items() for part in pair)
    )

    assert code == 2
    assert problem in " ".join(errors.split())
    assert not (tmp_path / "student").exists()


def test_absorbed_student_is_distilled_exported_and_answers(
    cli, tiny_teacher, texts_file, tmp_path
):
    teacher, start, student, bundle = tiny_teacher.folder, *map(tmp_path.joinpath, "abc")
    texts = ("--texts", texts_file)

    assert cli("absorb", teacher, *texts, "--out", start)[0] == 0
    code, printed, errors = cli(
        "distill", start, "--teacher", teacher, *texts, "--out", student, "--epochs", 1
    )
    assert code == 0, errors
    assert "held-out agreement: " in printed
    code, printed, errors = cli("export", student, "--out", bundle)
    assert code == 0, errors
    assert "next: adapter-distill predict" in printed
    code, printed, _ = cli("predict", bundle, "a fine film")

    assert (code, printed.split("\t")[0]) in ((0, "positive"), (0, "negative"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--learning-rate", "0"), "expect numbers above 0"),
        (("--texts", "few.txt"), "needs at least 8 different texts, found 1"),
    ],
)
def test_distill_refuses_bad_input(
    cli, tiny_teacher, tiny_absorbed, tmp_path, monkeypatch, arguments, problem
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.txt").write_text("a film\n" * 20)
    given = {"--texts": "few.txt", "--teacher": tiny_teacher.folder, "--out": "out"}
    given |= dict([arguments])

    code, _, errors = cli(
        "distill", tiny_absorbed.folder, *(part for pair in given.items() for part in pair)
    )

    assert code == 2
    assert problem in " ".join(errors.split())
    assert not (tmp_path / "out").exists()


def test_export_refuses_a_folder_without_a_model(cli, tmp_path):
    code, _, errors = cli("export", tmp_path, "--out", tmp_path / "bundle")

    assert code == 2
    assert "is not a readable model" in " ".join(errors.split())
    assert not (tmp_path / "bundle").exists()
