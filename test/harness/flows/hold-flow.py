"""Writes a flow that takes as long as it is told to the file named by its only argument."""

import json
import pathlib
import sys

from hold_component import Hold
from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph

heard = ChatInput(_id="ChatInput-hold")
held = Hold(_id="Hold-hold").set(text=heard.message_response)
said = ChatOutput(_id="ChatOutput-hold").set(input_value=held.hold)
flow = Graph(heard, said).dump(name="hold", description="takes its time", endpoint_name="hold")
pathlib.Path(sys.argv[1]).write_text(json.dumps(flow), encoding="utf-8")
