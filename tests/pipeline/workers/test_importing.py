import gc

import pytest

from pipeline.workers.importing import without_collection


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()


def test_what_is_made_inside_is_never_looked_at_again():
    gc.unfreeze()

    with without_collection():
        assert not gc.isenabled()

    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_collection_goes_on_after_an_error():
    with pytest.raises(ImportError), without_collection():
        raise ImportError

    assert gc.isenabled()


def test_collection_that_was_off_stays_off():
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
