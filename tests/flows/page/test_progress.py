import logging

import pytest
from prefect import flow
from prefect.artifacts import Artifact

from flows.page.progress import ShowProgress
from pipeline.chain.outlook import Outlook
from pipeline.training.progress import Progress

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def test_a_training_of_any_title_has_one_bar_that_moves():
    @flow(name="show-progress")
    def train():
        shown = ShowProgress()
        for step in (1, 3):
            record = logging.makeLogRecord({})
            record.progress = Progress(
                title="Fusion of LoRA", step=step, steps=4, loss=0.5, seconds_left=2.0
            )
            shown.emit(record)

    train()

    bar = Artifact.get("progress-fusion-of-lora")
    assert bar.data == 75
    assert bar.description == "Fusion of LoRA: step 3 of 4, loss 0.5, 0 min 02 s left"


def test_the_run_itself_has_a_bar():
    @flow(name="show-outlook")
    def run():
        record = logging.makeLogRecord({})
        record.outlook = Outlook(
            number=4, stages=10, usual_percent=12, percent=37.3, seconds_left=300
        )
        ShowProgress().emit(record)

    run()

    bar = Artifact.get("progress-run")
    assert bar.data == 37.3
    assert bar.description.endswith("about 5 min left")
