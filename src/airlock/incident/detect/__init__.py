"""What is going on: rules over rows of the audit log, those that must act at once and those of a window."""
