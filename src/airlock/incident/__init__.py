"""Incident response: what is decided about alerts, incidents and their clocks, and what is written of it."""
