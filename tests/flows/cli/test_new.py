import pytest

from pipeline.config.load import load_config


def test_new_writes_a_config_and_says_what_it_assumed(
    cli, tiny_csv, tiny_checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    code, said, _ = cli("new", "classification", str(tiny_csv), "--model", str(tiny_checkpoint))

    assert code == 0
    assert said.startswith("reviews.toml: assumed\n")
    assert "the label is in 'label', and not 'source', which would fit too" in said
    assert said.endswith("run it: adapter-distill run reviews.toml\n")
    assert load_config(tmp_path / "reviews.toml").data.labels == ("negative", "positive")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clasification", "x.csv"], "No task is called 'clasification' (perhaps classification)"),
        (["regression"], "Give the table too: adapter-distill new regression FILE"),
        (["a", "b", "c"], "Expected a task and a file, found 3 arguments"),
        (["nowhere.csv"], "nowhere.csv does not exist"),
        (["owner/name"], "owner/name is no file here"),
    ],
)
def test_wrong_arguments_are_refused(cli, arguments, message):
    code, _, said = cli("new", *arguments)

    assert code == 2
    assert message in " ".join(said.split())
