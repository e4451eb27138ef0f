import pytest

from pipeline.config import AdapterSource
from pipeline.errors import InputError
from pipeline.standalone.own_data import OwnAdapter, OwnData, propose_config


def test_table_alone_makes_a_whole_config(tiny_csv, tiny_checkpoint, tmp_path):
    form = OwnData(table=str(tiny_csv), model=str(tiny_checkpoint), runs_dir=tmp_path)

    config = propose_config(form)

    assert (config.task, config.data.train) == ("classification", str(tiny_csv))
    assert config.data.labels == ("negative", "positive")
    assert config.teacher.model == str(tiny_checkpoint)
    assert (config.name, config.runs_dir) == (tiny_csv.stem, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_adapter_takes_the_place_of_the_one_that_a_run_trains(
    tiny_csv, tiny_checkpoint, tiny_teacher
):
    form = OwnAdapter(
        adapter=str(tiny_teacher.folder),
        model=str(tiny_checkpoint),
        table=str(tiny_csv),
        name="absorbed",
    )

    config = propose_config(form)

    assert isinstance(config.teacher.adapter, AdapterSource)
    assert config.teacher.adapter.references == (str(tiny_teacher.folder),)
    assert config.name == "absorbed"


def test_what_is_not_certain_is_asked_for(tiny_csv, tiny_checkpoint):
    form = OwnData(table=str(tiny_csv), model=str(tiny_checkpoint), label=("opinion",))

    with pytest.raises(InputError, match="opinion"):
        propose_config(form)


def test_name_that_no_folder_can_have_is_refused(tiny_csv, tiny_checkpoint):
    form = OwnData(table=str(tiny_csv), model=str(tiny_checkpoint), name="../elsewhere")

    with pytest.raises(InputError, match="name"):
        propose_config(form)
