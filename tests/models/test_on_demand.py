from models.on_demand import OnDemand


def test_items_are_made_when_they_are_asked_for():
    made = []

    def make(number):
        made.append(number)
        return 10 * number

    items = OnDemand(make, range(6))

    assert (len(items), items[2], items[-1], made) == (6, 20, 50, [2, 5])
    assert list(items[1::2]) == [10, 30, 50]
    assert list(items[1::2][1:]) == [30, 50]
    assert list(OnDemand(make, range(0))) == []
