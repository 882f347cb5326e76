"""To and from what others compute with: a module for each of them, which needs the extra of its name.

`fastattn.interop.torch` gives models as modules of PyTorch, and takes its modules; `fastattn.interop.onnx` writes graphs of
standard operators. Nothing is imported here, for each needs a package of its own.
"""
