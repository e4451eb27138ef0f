import sys

import pytest

from pipeline.errors import InputError
from pipeline.store.places import locate


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package that breaks whoever imports it, with a file and a folder."""
    root = tmp_path / "fragile_package"
    (root / "models").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    (root / "texts.csv").write_text("text,label\n")
    (tmp_path / "secret.csv").write_text("text,label\n")
    monkeypatch.syspath_prepend(tmp_path)
    return root


def test_existing_path_is_itself(tmp_path):
    path = tmp_path / "texts.csv"
    path.touch()

    assert locate(str(path)) == path


def test_path_may_start_at_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "texts.csv").touch()

    assert locate("~/texts.csv") == tmp_path / "texts.csv"


@pytest.mark.parametrize("reference", ["imdb", "owner/name", "owner/name@test"])
def test_id_of_something_on_the_hub_has_no_path(tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)

    assert locate(reference) is None


def test_folder_goes_before_a_hub_id_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)

    assert locate("owner/name").is_dir()


@pytest.mark.parametrize(
    "reference",
    ["texts.csv", "data/texts.parquet", "./model", "/absent/model", "~/absent", "a/b/c"],
)
def test_path_that_does_not_exist_is_refused(tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=f"{reference} does not exist .*{tmp_path.name}"):
        locate(reference)


@pytest.mark.parametrize("inner", ["texts.csv", "models"])
def test_package_is_found_without_importing_it(package, inner):
    path = locate(f"package://fragile_package/{inner}")

    assert path == package / inner
    assert "fragile_package" not in sys.modules


@pytest.mark.parametrize("inner", ["../secret.csv", "models/../../secret.csv", "/etc/hostname"])
@pytest.mark.usefixtures("package")
def test_path_out_of_the_package_is_refused(inner):
    with pytest.raises(InputError, match="leads out of its package"):
        locate(f"package://fragile_package/{inner}")


def test_link_out_of_the_package_is_refused(package):
    (package / "link.csv").symlink_to(package.parent / "secret.csv")

    with pytest.raises(InputError, match="leads out of its package"):
        locate("package://fragile_package/link.csv")


@pytest.mark.usefixtures("package")
def test_file_that_the_package_lacks_is_refused():
    with pytest.raises(InputError, match=r"'fragile_package' has no 'absent.csv'"):
        locate("package://fragile_package/absent.csv")


@pytest.mark.parametrize("name", ["no_such_package", "not-a-name", "", "sys", "a.b"])
def test_package_that_is_not_installed_is_refused(name):
    with pytest.raises(InputError, match="is not installed"):
        locate(f"package://{name}/texts.csv")
