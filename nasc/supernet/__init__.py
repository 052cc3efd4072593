"""The supernet: all candidate operations with shared weights, trained block by block."""
