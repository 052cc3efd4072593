"""Which candidates are tried, trained and kept."""
