"""A server whose tools refuse arguments that they do not have, instead of ignoring them."""

from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

# Earlier arguments by tool, and their names now.
RENAMED = {"start_search": {"windows": "sizes"}, "evaluate": {"windows": "measured_windows"}}


class StrictServer(MCPServer):
    """An MCP server for agents, which may write an argument's earlier name or a wrong one."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """Call a tool by name."""
        schemas = {tool.name: tool.input_schema for tool in await self.list_tools()}
        known = schemas.get(name, {}).get("properties", arguments)
        for argument in sorted(arguments.keys() - known):
            renamed = RENAMED.get(name, {}).get(argument)
            if renamed is not None:
                raise ToolError(f"{argument} is now {renamed}")
            raise ToolError(f"{name} has no {argument}; allowed: {', '.join(known) or 'nothing'}")
        return await super().call_tool(name, arguments, context)
