"""``python -m nasc``, which torchrun can start too."""

from nasc.cli import main

main(prog_name="nasc")
