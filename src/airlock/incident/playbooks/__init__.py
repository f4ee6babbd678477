"""Playbooks: written in Markdown, compiled to a plan, decided on step by step. Nothing here does anything."""
