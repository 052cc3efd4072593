"""What attention scores get that count for nothing."""

MASKED = -1e4
"""Added to the attention scores of padding: exp() of it is 0 in fp32 (BERT's own constant)."""
