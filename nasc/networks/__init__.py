"""A network with its weights: as arrays, in torch, from a teacher."""
