"""Writes a flow that takes as long as its input requests to the file in its only argument."""

import json
import pathlib
import sys

from hold_component import Hold
from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph

received = ChatInput(_id="ChatInput-hold")
held = Hold(_id="Hold-hold").set(text=received.message_response)
returned = ChatOutput(_id="ChatOutput-hold").set(input_value=held.hold)
flow = Graph(received, returned).dump(name="hold", description="waits for the requested time", endpoint_name="hold")
pathlib.Path(sys.argv[1]).write_text(json.dumps(flow), encoding="utf-8")
