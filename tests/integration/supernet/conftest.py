"""A tiny teacher with text for it; lets the tests of this folder import the workers beside them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from supernet_toy import teacher, tokens

__all__ = ["teacher", "tokens"]
