import shutil

import pytest

from pipeline.checkpoints.pretrained import find_adapter_folder, find_checkpoint
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.store.digests import sha256_file


@pytest.fixture
def broken(tiny_checkpoint, tmp_path):
    """A copy of `tiny_checkpoint` that a test may break."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "broken")


def test_other_weights_than_expected_are_refused(tiny_checkpoint):
    with pytest.raises(InputError, match=f"sha256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        find_checkpoint(ModelConfig(model=str(tiny_checkpoint), sha256="0" * 64))


def test_expected_weights_are_accepted(tiny_checkpoint):
    digest = sha256_file(tiny_checkpoint / "model.safetensors")

    checkpoint = find_checkpoint(ModelConfig(model=str(tiny_checkpoint), sha256=digest))

    assert checkpoint.folder == tiny_checkpoint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_folder_without_weights_or_config_is_refused(broken, name):
    (broken / name).unlink()

    with pytest.raises(InputError, match="is not a readable model"):
        find_checkpoint(ModelConfig(model=str(broken)))


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_digest_depends_on_weights_and_tokenizer(broken, name):
    before = find_checkpoint(ModelConfig(model=str(broken))).digest
    with (broken / name).open("ab") as file:
        file.write(b" ")

    after = find_checkpoint(ModelConfig(model=str(broken))).digest

    assert after != before


def test_run_that_was_not_made_yet_is_no_id_of_the_hub():
    with pytest.raises(InputError, match=r"runs/reviews\.finetune does not exist .*--until finetu"):
        find_adapter_folder("runs/reviews.finetune")


def test_unreachable_hub_is_told_with_the_reason():
    with pytest.raises(InputError, match=r"Cannot fetch the model 'nobody/nothing' .*OFFLINE"):
        find_checkpoint(ModelConfig(model="nobody/nothing"))
