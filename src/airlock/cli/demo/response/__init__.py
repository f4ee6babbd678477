"""Incidents on a running gateway, until they are reviewed: an attack, and parts that really fail."""
