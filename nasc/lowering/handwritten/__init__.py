"""int8 and bf16 by TVM: kernels written by hand in its IR, in which nothing is searched for.

`module.handwritten_module` makes the module of a network, `compile.compile_handwritten` its code.
"""
