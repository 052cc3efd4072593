"""A tiny teacher with text for it."""

from supernet_toy import teacher, tokens

__all__ = ["teacher", "tokens"]
