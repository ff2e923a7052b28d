"""How compiled code sees a world's tables: one pointer to a book of where each of them is.

numba would pass 28 arrays as some 200 numbers, at every call of every function: its compiler then
spends minutes on moving them about (measured: half of its time for one function). So
``Tables`` is a type of its own, an address, and ``w.nodes`` reads the array's place from the book.
"""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.arrayobj import make_array, populate_array

from sim.engine.tables import SCHEMA, Tables

_WORD = ir.IntType(64)
_LINE = 3  # numbers of the book for each table: address, rows, columns
_TWO_DIMENSIONAL = ("arrivals", "drawn")


class TablesType(types.Type):
    """The type of ``Tables`` in compiled code."""

    def __init__(self) -> None:
        super().__init__(name="Tables")


TABLES = TablesType()
_ARRAYS = {
    name: types.Array(numba.from_dtype(row), 2 if name in _TWO_DIMENSIONAL else 1, "C")
    for name, row in SCHEMA.items()
}
_LINES = {name: number for number, name in enumerate(Tables._fields)}

register_model(TablesType)(models.OpaqueModel)


@typeof_impl.register(Tables)
def _typeof(value: Tables, context: object) -> TablesType:
    return TABLES


@unbox(TablesType)
def _unbox(kind: TablesType, value: Any, c: Any) -> NativeValue:
    number = c.pyapi.object_getattr_string(value, "address")
    failed = cgutils.is_null(c.builder, number)
    with c.builder.if_else(failed) as (bad, good):
        with bad:
            before_bad = c.builder.block
        with good:
            address = c.pyapi.long_as_longlong(number)
            c.pyapi.decref(number)
            before_good = c.builder.block
    found = c.builder.phi(_WORD)
    found.add_incoming(_WORD(0), before_bad)
    found.add_incoming(address, before_good)
    return NativeValue(c.builder.inttoptr(found, cgutils.voidptr_t), is_error=failed)


@infer_getattr
class _Fields(AttributeTemplate):
    """What ``w.nodes`` and the others are."""

    key = TablesType

    def generic_resolve(self, kind: Any, name: str) -> Any:  # type: ignore[override, unused-ignore]
        return _ARRAYS.get(name)


@lower_getattr_generic(TablesType)
def _get(context: Any, builder: Any, kind: TablesType, value: Any, name: str) -> Any:
    """Make an array of a line of the book; it is nobody's, so nothing counts who uses it."""
    book = builder.bitcast(value, _WORD.as_pointer())
    address, rows, columns = (
        builder.load(builder.gep(book, [_WORD(_LINE * _LINES[name] + part)]))
        for part in range(_LINE)
    )
    array_type = _ARRAYS[name]
    array = make_array(array_type)(context, builder)
    size = _WORD(context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
    flat = array_type.ndim == 1
    populate_array(
        array,
        data=builder.inttoptr(address, array.data.type),
        shape=[rows] if flat else [rows, columns],
        strides=[size] if flat else [builder.mul(columns, size), size],
        itemsize=size,
        meminfo=None,
    )
    return array._getvalue()
