"""Models in a browser of this machine, by onnxruntime-web.

`worker` is a program that speaks the worker protocol. It opens a page (`page/`) in a browser
without a window, from a server of its own that this machine alone reaches, and passes requests on.
"""
