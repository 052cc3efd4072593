"""Training of chosen networks against the teacher."""
