"""SARK, the control plane: what operators approve and change."""
