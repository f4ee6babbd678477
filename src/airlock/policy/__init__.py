"""The question, the engine, the answer."""
