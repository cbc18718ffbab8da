"""The stack machine that pickles are programs for, with the instructions that import and call made inert."""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # the names of Python 2, as the standard library maps them
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sharpaudit.checkpoints.limits import Meter
from sharpaudit.checkpoints.plain_data import INSTANCE_MAKERS, is_code
from sharpaudit.errors import UnsafeInput

MAX_GLOBAL_CHARS = 1000
"""Length of a name; those of real modules and classes have a hundred."""
MAX_GLOBALS = 10_000
"""Different names in one pickle; a pickled network has a few dozen."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle wanted imported. It was not."""

    name: str
    """``module.attribute``."""


@dataclass(eq=False, slots=True)
class Inert:
    """An object that was never made: what would have been called, with what."""

    kind: str
    """Name of the class or function."""
    arguments: object = ()
    state: object = None
    items: list[Any] = field(default_factory=list)
    """What was appended to it."""
    entries: dict[Any, Any] = field(default_factory=dict)
    """What was set in it by key: dict subclasses keep their content here."""


Constructor = Callable[[Any, Meter], object]
"""Arguments (as pickled, normally a tuple) to the value that stands for the object; what is copied of them is metered."""


def hashable(key: object) -> object:
    """`key` itself if it is a plain scalar, else a stand-in that never equals another.

    Hashing foreign nests can overflow, and there are as many integers of one hash as anybody wants: multiples of 2⁶¹ - 1.
    """
    plain = key is None or isinstance(key, str | float | bytes) or (isinstance(key, int) and -(2**60) < key < 2**60)
    return key if plain else Inert("dictionary key", key)


_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    }
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NOTHING = frozenset({"PROTO", "FRAME", "STOP", "READONLY_BUFFER"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONTAINERS = frozenset(
    {
        *("TUPLE", "LIST", "DICT", "FROZENSET", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"),
        *("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS"),
    }
)
_CALLS = frozenset(
    {
        *("GLOBAL", "STACK_GLOBAL", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"),
        *("REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"),
    }
)


class Machine:
    """The stack, the marks below it and the memo."""

    def __init__(self, constructors: dict[str, Constructor], persistent: Callable[[object], object] | None, meter: Meter) -> None:
        self.constructors = constructors
        self.meter = meter
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[str, None] = {}
        self.calls: dict[str, None] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Do one instruction: most only move values, some fill containers, and some would import or call something."""
        if opcode in _CONTAINERS:
            self._fill(opcode)
        elif opcode in _CALLS:
            self._stand_in(opcode, argument)
        else:
            self._move(opcode, argument)

    def _move(self, opcode: str, argument: Any) -> None:
        """An instruction that moves values between stack and memo; the common ones come first."""
        stack = self.stack
        if opcode in _LITERALS:
            stack.append(argument)
        elif opcode in ("BINPUT", "LONG_BINPUT", "PUT"):
            if not -(2**32) < argument < 2**32:
                raise ValueError(f"{opcode} of an index that no pickle has")
            self.memo[argument] = stack[-1]
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif opcode == "MARK":
            self.marks.append(stack)
            self.stack = []
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            if len(stack) < count:
                raise IndexError("stack is empty")
            stack[-count:] = [tuple(stack[-count:])]
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode == "POP" and not stack and self.marks:
            self.stack = self.marks.pop()
        elif opcode == "POP":
            stack.pop()
        elif opcode == "POP_MARK":
            self._pop_mark()
        elif opcode == "DUP":
            stack.append(stack[-1])
        elif opcode not in _NOTHING:
            raise ValueError(f"{opcode} has no meaning in a file")

    def _fill(self, opcode: str) -> None:
        """An instruction that makes a container or puts something into one."""
        stack = self.stack
        if opcode == "TUPLE":
            self._push_after_mark(tuple(stack))
        elif opcode in ("SETITEM", "SETITEMS"):
            self._set_items(self._pop_mark() if opcode == "SETITEMS" else [stack.pop(-2), stack.pop()])
        elif opcode in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if opcode == "APPEND" else self._pop_mark()
            target = self.stack[-1]
            (target.items if isinstance(target, Inert) else target).extend(items)
        elif opcode == "EMPTY_DICT":
            stack.append({})
        elif opcode in ("EMPTY_LIST", "EMPTY_SET"):
            stack.append([])
        elif opcode in ("LIST", "FROZENSET"):
            self._push_after_mark(stack)
        elif opcode == "DICT":
            items = self._pop_mark()
            self.stack.append({})
            self._set_items(items)

    def _stand_in(self, opcode: str, argument: Any) -> None:
        """An instruction that would import or call something: what would have come of it is described, and nothing is run."""
        stack = self.stack
        if opcode == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._call(function, arguments))
        elif opcode in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._global(argument if opcode == "GLOBAL" else f"{self._pop_name(-2)} {self._pop_name(-1)}"))
        elif opcode in ("BINPERSID", "PERSID"):
            stack.append(self._persistent(stack.pop() if opcode == "BINPERSID" else argument))
        elif opcode == "BUILD":
            state = stack.pop()
            if isinstance(stack[-1], Inert):
                stack[-1].state = state
        elif opcode == "NEWOBJ":
            arguments, kind = stack.pop(), stack.pop()
            stack.append(self._instance(kind, arguments))
        elif opcode == "NEWOBJ_EX":
            keywords, arguments, kind = stack.pop(), stack.pop(), stack.pop()
            stack.append(self._instance(kind, (arguments, keywords)))
        elif opcode == "OBJ":
            function, *arguments = self._pop_mark()
            self.stack.append(self._call(function, tuple(arguments)))
        elif opcode == "INST":
            arguments = self._pop_mark()
            self.stack.append(self._call(self._global(argument), tuple(arguments)))
        else:
            stack.append(self._code(f"copyreg extension {argument}"))

    def _pop_mark(self) -> list[Any]:
        """The values above the last mark; the stack is what was below it."""
        above, self.stack = self.stack, self.marks.pop()
        return above

    def _push_after_mark(self, value: object) -> None:
        self.stack = self.marks.pop()
        self.stack.append(value)

    def _pop_name(self, index: int) -> str:
        text = self.stack.pop(index)
        if not isinstance(text, str):
            raise TypeError("the name of a global is not text")
        return _bounded(text)

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Inert) else target
        if not isinstance(entries, dict):
            raise TypeError("items set in something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            entries[hashable(key)] = value

    def _persistent(self, pid: object) -> object:
        return self.persistent(pid) if self.persistent else Inert("persistent id", pid)

    def _global(self, spelled: str) -> Global:
        module, _, attribute = _bounded(spelled).partition(" ")
        module, attribute = NAME_MAPPING.get((module, attribute), (IMPORT_MAPPING.get(module, module), attribute))
        name = f"{module}.{attribute}"
        self.globals[name] = None
        if len(self.globals) > MAX_GLOBALS:
            raise UnsafeInput(f"the pickle names more than {MAX_GLOBALS:,} modules, classes and functions")
        if name not in self.constructors and is_code(name, called=False):
            self.calls[name] = None
        return Global(name)

    def _code(self, name: str, arguments: object = ()) -> Inert:
        if len(self.calls) < MAX_GLOBALS:
            self.calls[name] = None
        return Inert(name, arguments)

    def _call(self, function: object, arguments: Any) -> object:
        """What stands for ``function(*arguments)``, which is not called."""
        if not isinstance(function, Global):
            kind = function.kind if isinstance(function, Inert) else "a value"
            return self._code(kind if kind.startswith(_RESULT) else _RESULT + kind, arguments)
        if function.name in self.constructors:
            return self.constructors[function.name](arguments, self.meter)
        if function.name in INSTANCE_MAKERS and isinstance(arguments[0], Global):
            self.meter.step(len(arguments))
            return self._instance(arguments[0], arguments[1:])
        if is_code(function.name, called=True):
            return self._code(function.name, arguments)
        return Inert(function.name, arguments)

    def _instance(self, kind: object, arguments: object) -> object:
        """What stands for an object of class `kind` made without its constructor."""
        if not isinstance(kind, Global):
            return self._code("an object of a computed class", arguments)
        if kind.name in self.constructors:
            return self.constructors[kind.name](arguments, self.meter)
        return Inert(kind.name, arguments)


_RESULT = "the result of "


def _bounded(name: str) -> str:
    """`name`, if it can be one of a module, class or function."""
    if len(name) > MAX_GLOBAL_CHARS:
        raise ValueError(f"a global has a name of {len(name):,} characters")
    return name
