"""Finding and replacing what must not pass."""
