from pipeline.timing.machine import ConditionsMeter, describe_machine


def test_machine_says_what_a_timing_depends_on():
    machine = describe_machine()

    assert set(machine) >= {"cpu", "cores", "instructions", "governor", "huge pages", "onnxruntime"}
    assert all(machine.values())


def test_machine_is_described_alike_each_time():
    assert describe_machine() == describe_machine()


def test_conditions_are_parts_of_the_time():
    meter = ConditionsMeter()
    sum(range(10**6))

    found = meter.read()

    assert 0 <= found.busy <= 1
    assert 0 <= found.steal <= 1
    assert found.involuntary_switches >= 0
