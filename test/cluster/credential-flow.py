"""Prints a flow that answers with the SHA-256 of the stored credential QUICK_START, which proves that it could decrypt it."""

import json

from lfx.components.input_output import ChatOutput, TextInputComponent
from lfx.graph import Graph

# LangFlow passes a credential only to secret fields, and never displays it.
CODE = '''
import hashlib

from lfx.custom import Component
from lfx.io import Output, SecretStrInput
from lfx.schema.message import Message


class Digest(Component):
    inputs = [SecretStrInput(name="input_value", display_name="Credential")]
    outputs = [Output(display_name="Digest", name="text", method="text_response")]

    def text_response(self) -> Message:
        value = self.input_value
        secret = getattr(value, "get_secret_value", lambda: value)()
        return Message(text=hashlib.sha256(secret.encode()).hexdigest())
'''

read = TextInputComponent(_id="TextInput-credential").set(input_value="QUICK_START")
answer = ChatOutput(_id="ChatOutput-credential").set(input_value=read.text_response)
flow = Graph(read, answer).dump(name="credential")
for node in flow["data"]["nodes"]:
    if node["id"] == "TextInput-credential":
        template = node["data"]["node"]["template"]
        template["code"]["value"] = CODE
        template["input_value"] |= {"load_from_db": True, "password": True, "_input_type": "SecretStrInput"}
print(json.dumps(flow))
