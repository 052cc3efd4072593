"""Schedules of TVM's kernels, found by measuring: MetaSchedule, in a loop of our own.

Shao et al., Tensor Program Optimization with Probabilistic Programs, NeurIPS 2022. Kernels are
found in networks (`kernels`), candidates run in processes of their own (`trials`), what came out is
kept by target (`records`), and time goes where most is to be gained (`loop`).
"""
