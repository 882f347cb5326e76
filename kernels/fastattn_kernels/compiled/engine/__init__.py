"""What the compiled kernels stand on; nothing here knows a layer.

Read in this order: `cpu` (which vectors this machine has), `compiling` and `jit` (how functions are compiled, and run on
several threads), `buffers` (aligned memory that is used again), `vector` (the few functions written in LLVM's own language),
`product` (matrix products from them), `activation` (exp, tanh, sigmoid).
"""
