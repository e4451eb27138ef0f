import pytest

from flows.server.kept_changes import digest, merge

BEFORE, PEOPLES, NEW = "before", "people's", "new"
MISSING = object()


def parts(value):
    return {} if value is MISSING else {"part": value}


@pytest.mark.parametrize("by_people", [None, PEOPLES, MISSING])
@pytest.mark.parametrize("by_project", [None, NEW, MISSING])
@pytest.mark.parametrize("before", [BEFORE, MISSING])
def test_part_follows_the_project_unless_people_changed_it(before, by_project, by_people):
    ours = before if by_project is None else by_project
    theirs = before if by_people is None else by_people
    record = {name: digest(value) for name, value in parts(before).items()}

    found = merge(record, parts(ours), parts(theirs))

    after = dict(parts(theirs)) | dict(found.set)
    for name in found.removed:
        del after[name]
    assert after == (parts(ours) if theirs == before else parts(theirs))
    assert bool(found.left) == (theirs not in (before, ours))
    # The next start does and says the same.
    again = merge(found.record, parts(ours), after)
    assert (dict(again.set), again.removed, again.left) == ({}, (), found.left)


@pytest.mark.parametrize(
    ("by_project", "why"), [(BEFORE, "people"), (NEW, "both"), (MISSING, "both")]
)
def test_what_is_left_says_who_changed_it(by_project, why):
    record = {"part": digest(BEFORE)}

    assert merge(record, parts(by_project), parts(PEOPLES)).left == {"part": why}


def test_what_people_set_back_follows_the_project_again():
    record = {"part": digest(BEFORE)}
    left = merge(record, parts(NEW), parts(PEOPLES)).record

    assert merge(left, parts(NEW), parts(BEFORE)).set == {"part": NEW}


def test_without_a_record_every_difference_is_left():
    found = merge(None, {"same": 1, "other": 2, "new": 3}, {"same": 1, "other": 4, "more": 5})

    assert found.set == {}
    assert found.left == dict.fromkeys(("other", "new", "more"), "unknown")
    assert found.record == {"same": digest(1)}
