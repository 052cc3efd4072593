"""The steps of `nasc compile`, one module each."""
