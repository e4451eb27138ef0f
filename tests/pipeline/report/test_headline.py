from pipeline.facts.latency import Estimate
from pipeline.report.headline import clearest


def ratio(value, half):
    return Estimate(value=value, low=value - half, high=value + half)


def test_wall_time_is_shown_where_it_is_clear():
    wall, cpu = ratio(4.7, 0.2), ratio(4.6, 0.01)

    assert clearest(wall, cpu) is wall


def test_cpu_time_is_shown_where_a_busy_machine_blurs_the_wall_time():
    wall, cpu = ratio(4.7, 1.2), ratio(4.6, 0.01)

    assert clearest(wall, cpu) is cpu


def test_cpu_time_that_is_no_clearer_is_not():
    wall, cpu = ratio(4.7, 1.2), ratio(4.6, 1.3)

    assert clearest(wall, cpu) is wall


def test_nothing_is_shown_of_a_rung_that_was_left_out():
    assert clearest(None, None) is None
