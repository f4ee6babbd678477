"""The nouns: frozen structs that rooms hand to each other. No I/O, no behaviour beyond derived values."""
