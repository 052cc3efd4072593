"""Kernels to tune: a product, and one that crashes."""

from __future__ import annotations

import tvm
from tvm import te

from nasc.lowering.tuning.kernels import Task, kernel_key


def product(n: int = 32, name: str = "product", count: int = 1) -> Task:
    a, b = (te.placeholder((n, n), name=x) for x in "AB")
    k = te.reduce_axis((0, n), name="k")
    c = te.compute((n, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    function = te.create_prim_func([a, b, c]).with_attr("global_symbol", "main")
    module = tvm.IRModule({"main": function.with_attr("tirx.noalias", True)})
    return Task(name, kernel_key(module), module, (), 2.0 * n**3, count, float(count))


def out_of_bounds(factor: int) -> tvm.IRModule:
    from tvm.script import tirx as T

    @T.prim_func(s_tir=True)
    def main(a: T.Buffer((32,), "float32"), c: T.Buffer((32,), "float32")):
        for i in range(32):
            with T.sblock("C"):
                v = T.axis.spatial(32, i)
                c[T.Cast("int64", v) * T.int64(factor)] = a[v]

    return tvm.IRModule({"main": main})
