import pytest
import torch

from pipeline.training.small_work import threads_for


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("multiply_adds", "expected"), [(1_000_000, 1), (10**9, 2)])
@pytest.mark.usefixtures("two_threads")
def test_small_steps_run_on_one_thread_and_large_ones_on_all(multiply_adds, expected):
    with threads_for(multiply_adds):
        assert torch.get_num_threads() == expected

    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_come_back_after_an_error():
    with pytest.raises(RuntimeError, match="boom"), threads_for(1):
        raise RuntimeError("boom")

    assert torch.get_num_threads() == 2
