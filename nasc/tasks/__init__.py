"""Tasks with labels: reading their data and scoring sentence vectors on them."""
