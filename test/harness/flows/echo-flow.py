"""Writes a flow that returns its input, and needs no network, to the file in its only argument."""

import json
import pathlib
import sys

from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph

received = ChatInput(_id="ChatInput-echo")
returned = ChatOutput(_id="ChatOutput-echo").set(input_value=received.message_response)
flow = Graph(received, returned).dump(name="echo", description="returns its input", endpoint_name="echo")
pathlib.Path(sys.argv[1]).write_text(json.dumps(flow), encoding="utf-8")
