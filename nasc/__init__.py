"""NASC: a hardware-aware deployment compiler for BERT-like text encoders.

Importing this package loads none of the heavy libraries (torch, onnxruntime,
transformers): they are imported by the modules that use them.
"""

__version__ = "0.1.0"
