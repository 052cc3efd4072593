"""Files, outputs, progress and torch's device."""
