import pytest

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture
def texts_file(tmp_path):
    lines = [f"a {word} film, {number}" for number in range(10) for word in ("fine", "dull")]
    path = tmp_path / "texts.txt"
    # A tab is white space: nobody asked for pairs.
    path.write_text("\n".join(lines).replace("film, 3", "film,\t3", 1))
    return path


def test_imported_adapter_is_absorbed(cli, hub_adapter, tiny_checkpoint, texts_file, tmp_path):
    adapter = hub_adapter(tmp_path / "adapter", "task")
    teacher, student = tmp_path / "teacher", tmp_path / "student"

    code, printed, _ = cli(
        "import-adapter", adapter, "--backbone", tiny_checkpoint, "--out", teacher
    )

    assert code == 0
    assert "labels: negative, positive" in printed
    code, printed, errors = cli("absorb", teacher, "--texts", texts_file, "--out", student)
    assert code == 0, errors
    assert (student / "model.safetensors").is_file()


def test_import_refuses_what_is_no_adapter(cli, tiny_checkpoint, tmp_path):
    code, _, errors = cli(
        "import-adapter", tmp_path, "--backbone", tiny_checkpoint, "--out", tmp_path / "teacher"
    )

    assert code == 2
    assert "it has no adapter_config.json" in " ".join(errors.split())
    assert not (tmp_path / "teacher").exists()


def test_teacher_is_exported_for_the_adapters_library(cli, tiny_teacher, tmp_path):
    code, printed, errors = cli("export-adapter", tiny_teacher.folder, "--out", tmp_path / "hub")

    assert code == 0, errors
    assert "load_adapter(" in printed
    assert (tmp_path / "hub" / "pytorch_adapter.bin").is_file()
