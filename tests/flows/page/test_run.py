import warnings

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from flows.page.run import explain_failure

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ValueError])
@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_is_stopped_or_fails_says_on_its_page_how_to_go_on(fault):
    runs = []

    def note(_flow, run, _state):
        runs.append(run.id)

    hooks = [explain_failure, note]

    @flow(name="ends", on_failure=hooks, on_crashed=hooks)
    def ends():
        raise fault

    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        with pytest.raises(fault):
            ends()

    with get_client(sync_client=True) as client:
        found = client.read_artifacts()
    ours = [each for each in found if each.flow_run_id == runs[-1] and each.key]  # no results
    assert [each.key for each in ours] == ["failure"]
    assert f"prefect flow-run retry {runs[-1]}" in ours[0].data
