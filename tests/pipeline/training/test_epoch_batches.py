from pipeline.training.epoch_batches import EpochBatches

EXAMPLES = [{"input_ids": [0] * (1 + number % 7)} for number in range(50)]


def order(*, epoch=0, batch_size=8, step_size=8, seed=0):
    batches = EpochBatches(EXAMPLES, batch_size=batch_size, step_size=step_size, seed=seed)
    batches.set_epoch(epoch)
    return list(batches)


def test_every_example_is_in_one_batch_of_each_epoch():
    for epoch in range(3):
        found = order(epoch=epoch)
        assert sorted(number for batch in found for number in batch) == list(range(50))
        assert [len(batch) for batch in found] == [8] * 6 + [2]


def test_order_hangs_on_seed_and_epoch_alone():
    assert order(epoch=1) == order(epoch=1)
    assert order(epoch=1) != order(epoch=2)
    assert order(seed=1) != order(seed=2)


def test_smaller_batches_make_the_same_steps():
    whole = order()
    halves = order(batch_size=4)

    assert [a + b for a, b in zip(halves[0:12:2], halves[1:12:2], strict=True)] == whole[:6]
    assert halves[12] == whole[6]
