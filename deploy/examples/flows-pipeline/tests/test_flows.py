"""The smoke test: each flow answers. Add the questions and answers that matter to you."""

import json
from pathlib import Path

import pytest

FLOWS = [json.loads(path.read_text()) for path in sorted(Path("flows").glob("*.json"))]
assert FLOWS, "flows/ has no flow"


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow["name"])
def test_flow_answers(flow_runner, flow):
    assert flow_runner(flow["id"], "Hello").first_text_output()
