"""Writes a flow that needs no network (what comes in goes out) to the file named by its only argument."""

import json
import pathlib
import sys

from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph

heard = ChatInput(_id="ChatInput-echo")
said = ChatOutput(_id="ChatOutput-echo").set(input_value=heard.message_response)
flow = Graph(heard, said).dump(name="echo", description="says what it hears", endpoint_name="echo")
pathlib.Path(sys.argv[1]).write_text(json.dumps(flow), encoding="utf-8")
