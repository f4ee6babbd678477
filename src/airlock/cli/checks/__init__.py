"""Checks of a running gateway from outside, for `airlock verify`."""
