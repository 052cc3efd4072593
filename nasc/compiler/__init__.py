"""The pipeline behind `nasc compile`."""

from nasc.compiler.options import Options
from nasc.compiler.pipeline import compile, compile_on
from nasc.compiler.result import CompileResult

__all__ = ["CompileResult", "Options", "compile", "compile_on"]
