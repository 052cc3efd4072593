"""Networks as plain machine code, without a runtime: kernels by TVM, and data on their order.

`compile.compile_static` is the way in; `nasc.package.formats.c_folder` makes a C library of it.
"""
