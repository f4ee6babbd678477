"""Credentials in, principals out."""
