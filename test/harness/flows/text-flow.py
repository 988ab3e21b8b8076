"""Writes a flow that answers with a fixed text, and needs no network, to the file in its only argument."""

import json
import pathlib
import sys

from lfx.components.input_output import ChatOutput, TextInputComponent
from lfx.graph import Graph

text = TextInputComponent(_id="TextInput-text").set(input_value="the fixed text")
returned = ChatOutput(_id="ChatOutput-text").set(input_value=text.text_response)
flow = Graph(text, returned).dump(name="text", description="answers with a fixed text", endpoint_name="text")
# LangFlow replaces a flow only by a file with its id.
flow["id"] = "5a3c1f0e-8d0b-4c57-9a34-0e6a1c2b7d42"
pathlib.Path(sys.argv[1]).write_text(json.dumps(flow), encoding="utf-8")
