import json
from pathlib import Path

from pipeline.report.report import Report

SCHEMA = Path(__file__).parents[3] / "docs" / "report.schema.json"


def test_documented_schema_is_that_of_the_report():
    documented = json.loads(SCHEMA.read_text())

    assert documented == Report.model_json_schema()


def test_every_part_of_the_report_is_described():
    schema = Report.model_json_schema()

    assert all(part.get("description") for part in schema["$defs"].values())
