"""The log that an outsider can verify: entry, chain, journal, projection, verification."""
