"""What every room stands on: configuration, clock, errors, identifiers, logs, sealed values."""
