"""The way of a call, and everything that decides on it."""
