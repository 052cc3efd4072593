"""The version of nasc."""

__version__ = "0.1.0"
