"""A slow component: `hold=SECONDS` waits, `thread=SECONDS` sleeps in a thread; other texts pass without a wait."""

import asyncio
import time

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message


class Hold(Component):
    display_name = "Hold"
    name = "Hold"
    inputs = [MessageTextInput(name="text", display_name="Text")]
    outputs = [Output(name="message", display_name="Message", method="hold")]

    async def hold(self) -> Message:
        kind, _, seconds = str(self.text).partition("=")
        if kind == "hold":
            await asyncio.sleep(float(seconds))
        elif kind == "thread":
            await asyncio.to_thread(time.sleep, float(seconds))
        return Message(text=str(self.text))
