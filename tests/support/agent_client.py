"""An agent that calls the tools of ``autoprune mcp``."""

from dataclasses import replace
from typing import Any

import anyio
from mcp import Client

from autoprune.design.chat import Message
from flows.agents.project import Project
from flows.agents.server import build_server


def call(project: Project, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """What tools reply: a record, or the text of an error."""

    async def talk() -> list[Any]:
        async with Client(build_server(project)) as client:
            found = [await client.call_tool(name, given) for name, given in calls]
            return [
                r.content[0].text if r.is_error else r.structured_content  # type: ignore[union-attr]
                for r in found
            ]

    return anyio.run(talk)


def whole(found: dict[str, Any]) -> list[list[Message]]:
    """Messages of all questions of a reply, with what is given once put back."""
    talks = [[Message(m["role"], m["content"]) for m in q["messages"]] for q in found["questions"]]
    if shared := found["shared"]:
        for talk in talks:
            talk[0] = replace(talk[0], content=shared["beginning"] + talk[0].content)
            talk.insert(0, Message("system", shared["system"]))
    return talks
