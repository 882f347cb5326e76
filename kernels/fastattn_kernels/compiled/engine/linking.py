"""Calls between separately compiled functions, and the launch of a kernel's shares on all threads.

Numba puts a copy of every function into whatever calls it and optimises it there again; a parallel loop does so three times.
Cold compilation of the kernels would take minutes. Here a function is compiled once and made known to the linker under a
name, and what calls it holds only that name. The names carry a hash of the sources, so that code from a cache on disk can
never be joined to a function that it was not compiled against; and whoever runs code with such a name in it (`jit`) first
makes the name known.
"""

import ctypes
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .code_cache import CHECK_BOUNDS
from .values import annotations, with_names

_i64 = ir.IntType(64)
_pointer = ir.IntType(8).as_pointer()

# launch(address of the threads' state, shares, address of an entry, address of its arguments): made in `threads`
LAUNCH = "fastattn.launch"
LAUNCH_TYPES = (types.int64, types.int64, types.int64, types.int64)


def symbol(name, argument_types):
    """The linker's name of a function for some types of arguments."""
    return f"{name}({','.join(map(str, argument_types))})"


def publish(dispatcher, name, argument_types):
    """Compile a Numba function that returns nothing for some types of arguments, and make it known to the linker."""
    dispatcher.compile(tuple(argument_types))
    compiled = dispatcher.overloads[tuple(argument_types)]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    llvmlite.binding.add_symbol(symbol(name, argument_types), address)


def _emit_call(context, builder, name, argument_types, arguments):
    """Returns the status of the call: it can be an error only with ``FASTATTN_CHECK_BOUNDS``."""
    function_type = context.call_conv.get_function_type(types.void, argument_types)
    function = cgutils.get_or_insert_function(builder.module, function_type, symbol(name, argument_types))
    status, _ = context.call_conv.call_function(builder, function, types.void, argument_types, arguments)
    return status


_FAILED = "fastattn.failed"
_failures: list[None] = []  # one for each share that left an array, since they were last asked for


@ctypes.CFUNCTYPE(None)
def _note_failure():
    _failures.append(None)


if CHECK_BOUNDS:
    llvmlite.binding.add_symbol(_FAILED, ctypes.cast(_note_failure, ctypes.c_void_p).value)


def raise_failure(name):
    """IndexError if a share of the last launch, of the kernel with this name, left an array."""
    if _failures:
        _failures.clear()
        raise IndexError(f"the kernel {name} reads or writes beyond an array")


def _plain(t):
    """The type under which a function is published: int64 for a whole number or truth value, a writeable array for any."""
    if isinstance(t, types.BaseTuple):
        return types.BaseTuple.from_types([_plain(element) for element in t.types], getattr(t, "instance_class", None))
    return types.int64 if isinstance(t, (types.Integer, types.Boolean)) else t.copy(readonly=False)


def _as_plain(context, builder, value, given, wanted):
    """A value of a type that was given, as one of the type under which the function is published."""
    if isinstance(given, types.BaseTuple):
        elements = zip(cgutils.unpack_tuple(builder, value), given.types, wanted.types)
        return context.make_tuple(builder, wanted, [_as_plain(context, builder, *element) for element in elements])
    return context.cast(builder, value, given, wanted) if isinstance(wanted, types.Integer) else value


def call(name, given):
    """What an intrinsic gives back that calls a published function: its signature, and what emits the call.

    given: the types of the arguments. A whole number or truth value is handed on as int64, in a value with a name, too.
    """
    wanted = [_plain(t) for t in given]

    def emit(context, builder, signature, values):
        values = [_as_plain(context, builder, *each) for each in zip(values, signature.args, wanted)]
        status = _emit_call(context, builder, name, wanted, values)
        if CHECK_BOUNDS:
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(*[w if isinstance(w, types.Integer) else t for t, w in zip(given, wanted)]), emit


# Of each kernel, by its name, what stands in the annotations after share and shares.
_annotations: dict[str, list[Any]] = {}


def know(name, function):
    """Note what a kernel's parameters are, before :func:`launch` is compiled for it."""
    _annotations[name] = annotations(function)[2:]


def types_of_body(name, given):
    """The types under which a kernel is compiled, for those of what Python hands over."""
    return tuple([with_names(*each) for each in zip(given, _annotations[name], strict=True)])


# Of the register that says how an x86 processor computes: a denormal result is zero, and so is a denormal that is read.
_FLUSH = 0x8040


def _emit_mode_access(builder, name, place):
    function_type = ir.FunctionType(ir.VoidType(), [_pointer])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(place, _pointer)])


def _emit_set_mode(builder, mode):
    """Let the processor compute as it did before :func:`emit_flush_denormals`, which gave this."""
    if mode is not None:
        _emit_mode_access(builder, "ldmxcsr", mode)


def emit_flush_denormals(context, builder):
    """Let the processor take denormals for zeros: with them it computes up to a hundred times slower.

    Returns the place of the mode before, for `_emit_set_mode`; None on what is no x86, where nothing is changed.
    """
    if not context.codegen().magic_tuple()[0].startswith(("x86_64", "i686")):
        return None
    before, flushing = (cgutils.alloca_once(builder, ir.IntType(32)) for _ in range(2))
    _emit_mode_access(builder, "stmxcsr", before)
    builder.store(builder.or_(builder.load(before), ir.Constant(ir.IntType(32), _FLUSH)), flushing)
    _emit_mode_access(builder, "ldmxcsr", flushing)
    return before


@intrinsic
def flush_denormals(typingctx):
    """Let the processor take denormals for zeros, in this thread, from now on."""

    def emit(context, builder, signature, arguments):
        emit_flush_denormals(context, builder)
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic(prefer_literal=True)
def launch(typingctx, name, state, shares, arguments):
    """Call a published function with (share, shares, *arguments) for every share, on all threads; a single share here.

    Meanwhile denormals are zeros; the caller's own mode is left as it was.

    The arguments are laid down in memory, and each thread reads them there through a small function made here. Tuples become
    the values with names that the function takes, which look the same in memory.
    """

    def emit(context, builder, signature, values):
        _, state, shares, arguments = values
        name = signature.args[0].literal_value
        types_of_arguments = types_of_body(name, signature.args[3].types)
        memory = cgutils.alloca_once_value(builder, arguments)
        module = builder.module
        entry = ir.Function(
            module, ir.FunctionType(ir.VoidType(), [_i64, _i64, _pointer]), module.get_unique_name("fastattn_entry")
        )
        entry.linkage = "internal"
        inside = ir.IRBuilder(entry.append_basic_block())
        elements = cgutils.unpack_tuple(inside, inside.load(inside.bitcast(entry.args[2], memory.type)))
        share_types = (types.int64, types.int64, *types_of_arguments)
        status = _emit_call(context, inside, name, share_types, [entry.args[0], entry.args[1], *elements])
        if CHECK_BOUNDS:
            with cgutils.if_unlikely(inside, status.is_error):
                failed = cgutils.get_or_insert_function(module, ir.FunctionType(ir.VoidType(), []), _FAILED)
                inside.call(failed, [])
        inside.ret_void()

        mode = emit_flush_denormals(context, builder)
        with builder.if_else(builder.icmp_signed("==", shares, _i64(1))) as (alone, together):
            with alone:
                builder.call(entry, [_i64(0), shares, builder.bitcast(memory, _pointer)])
            with together:
                addresses = [builder.ptrtoint(entry, _i64), builder.ptrtoint(memory, _i64)]
                _emit_call(context, builder, LAUNCH, LAUNCH_TYPES, [state, shares, *addresses])
        _emit_set_mode(builder, mode)
        return context.get_dummy_value()

    return types.void(name, types.int64, types.int64, arguments), emit


@intrinsic
def call_entry(typingctx, entry, share, shares, arguments):
    """Call a function made by :func:`launch`, given its address and the address of its arguments."""

    def emit(context, builder, signature, values):
        entry, share, shares, arguments = values
        function_type = ir.FunctionType(ir.VoidType(), [_i64, _i64, _pointer])
        function = builder.inttoptr(entry, function_type.as_pointer())
        builder.call(function, [share, shares, builder.inttoptr(arguments, _pointer)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), emit
