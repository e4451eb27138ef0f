from benchmarks.evaluate_costs import measure_statistics


def test_the_costs_of_evaluate_are_measured_by_its_own_functions():
    found = measure_statistics(3, 60)

    assert set(found) == {"cpu_s", "peak_mb_more"}
