"""The native worker: a program in C that speaks docs/worker-protocol.md, with ONNX Runtime.

Its sources lie in src/. It runs on devices without Python, and beside the Python worker on this
machine. What it needs is made on this machine and kept in the cache: `profilers.runner.build`
compiles it, `profilers.runner.library` finds ONNX Runtime's shared library for the device.
"""
