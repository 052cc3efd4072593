"""From an architecture with its weights to a graph that runs elsewhere."""
