"""Airlock: an MCP gateway with incident response built in."""

__version__ = "0.1.0"
