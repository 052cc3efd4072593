"""How good a network or a file is: parity, agreement with the teacher, ranking."""
