"""The functions of a deployed network's C interface, as LLVM IR: data that describes the model, its instances, and the
main function, which calls the kernels with the places that the memory plan gave them."""

from __future__ import annotations

from collections.abc import Sequence

from compiler.backend.aot.header import ABI_VERSION, DTYPES, ERRORS
from compiler.backend.aot.program import ALIGNMENT, Place, Program
from compiler.graph.ir import Value
from compiler.ir import ITEM_BYTES

CONSTANTS_SECTION = ".rodata.vdla"
_CODES = {name: i for i, (name, _) in enumerate(ERRORS)}

_FUNCTIONS = """
declare ptr @malloc({word})
declare void @free(ptr)
declare ptr @memcpy(ptr, ptr, {word})
declare {word} @syscall({word}, ...)
declare void @vdla_pool_set_threads(i32)
{kernels}

define ptr @{prefix}_model_info() {{
  ret ptr @info
}}

define ptr @{prefix}_error_text(i32 %code) {{
  %known = icmp ult i32 %code, {errors}
  %safe = select i1 %known, i32 %code, i32 {errors}
  %slot = getelementptr inbounds [{texts} x ptr], ptr @error_texts, i32 0, i32 %safe
  %text = load ptr, ptr %slot
  ret ptr %text
}}

define i32 @{prefix}_set_threads(i32 %threads) {{
  %low = icmp slt i32 %threads, 1
  br i1 %low, label %bad, label %good
bad:
  ret i32 {BAD_ARGUMENT}
good:
  call void @vdla_pool_set_threads(i32 %threads)
  ret i32 0
}}

; An instance is its workspace; the first word holds what must be freed.
define i32 @{prefix}_create(ptr %model, ptr %arena, {word} %bytes) {{
entry:
  %nowhere = icmp eq ptr %model, null
  br i1 %nowhere, label %end, label %clear
clear:
  store ptr null, ptr %model
{permission}
begin:
  %own = icmp eq ptr %arena, null
  br i1 %own, label %allocate, label %check
allocate:
  %memory = call ptr @malloc({word} {room})
  %none = icmp eq ptr %memory, null
  br i1 %none, label %end, label %align
align:
  %address = ptrtoint ptr %memory to {word}
  %bumped = add {word} %address, {bump}
  %aligned = and {word} %bumped, -{alignment}
  %start = inttoptr {word} %aligned to ptr
  br label %done
check:
  %small = icmp ult {word} %bytes, {workspace}
  br i1 %small, label %end, label %enough
enough:
  %given = ptrtoint ptr %arena to {word}
  %low = and {word} %given, {bump}
  %skew = icmp ne {word} %low, 0
  br i1 %skew, label %end, label %done
done:
  %workspace = phi ptr [ %start, %align ], [ %arena, %enough ]
  %owned = phi ptr [ %memory, %align ], [ null, %enough ]
  store ptr %owned, ptr %workspace
  store ptr %workspace, ptr %model
  br label %end
end:
  %code = phi i32 [ {BAD_ARGUMENT}, %entry ], {refused}[ {OUT_OF_MEMORY}, %allocate ], [ {ARENA_TOO_SMALL}, %check ], [ {MISALIGNED}, %enough ], [ 0, %done ]
  ret i32 %code
}}

define void @{prefix}_destroy(ptr %model) {{
  %none = icmp eq ptr %model, null
  br i1 %none, label %end, label %give
give:
  %owned = load ptr, ptr %model
  call void @free(ptr %owned)
  br label %end
end:
  ret void
}}

define i32 @{prefix}_run(ptr %model, ptr %inputs, ptr %outputs) {{
entry:
  %no.model = icmp eq ptr %model, null
  %no.inputs = icmp eq ptr %inputs, null
  %no.outputs = icmp eq ptr %outputs, null
  %no.lists = or i1 %no.inputs, %no.outputs
  %nothing = or i1 %no.model, %no.lists
  br i1 %nothing, label %bad, label %look
look:
{pointers}
  br i1 {missing}, label %bad, label %there
there:
  br i1 {skewed}, label %misaligned, label %go
bad:
  ret i32 {BAD_ARGUMENT}
misaligned:
  ret i32 {MISALIGNED}
go:
{calls}
  ret i32 0
}}
"""  # noqa: E501

# What begins the names of LLVM's functions that use tile registers.
_TILES = ("llvm.x86.ldtilecfg", "llvm.x86.tile", "llvm.x86.tdp")
# arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): Linux lends the tile registers to processes that ask.
_PERMISSION = """\
  %asked = call i64 (i64, ...) @syscall(i64 158, i64 4131, i64 18)
  %refused = icmp ne i64 %asked, 0
  br i1 %refused, label %end, label %begin"""


def interface_ir(program: Program, prefix: str, platform: str, kit_version: str, triple: str, word: str) -> str:
    """The interface as a module. `word`: the integer type of the size of an object ("i64")."""
    inputs = [(value.name, value) for value in program.inputs]
    calls = _Calls(program, prefix, word)
    tiles = any(name.startswith(_TILES) for kernel, _ in program.calls for name in kernel.lowered.facts.llvm_calls)
    texts = [*[text for _, text in ERRORS], "unknown error"]
    data = [
        f'target triple = "{triple}"',
        # A byte stands for all of them (see section_at_end); weak, so that LLVM relies on neither it nor its size.
        f'@{prefix}_constants = weak hidden constant i8 0, section "{CONSTANTS_SECTION}", align {ALIGNMENT}',
        *_strings("error_text", texts),
        f"@error_texts = internal constant [{len(texts)} x ptr] [{_list('ptr', '@error_text', len(texts))}]",
        *_strings("about", [program.name, platform, kit_version]),
        *_tensors("input", inputs, word),
        *_tensors("output", program.outputs, word),
        f"@info = internal constant {{ i32, i32, i32, ptr, ptr, ptr, ptr, ptr, {word}, {word} }} {{ "
        f"i32 {ABI_VERSION}, i32 {len(inputs)}, i32 {len(program.outputs)}, ptr @inputs, ptr @outputs, "
        f"ptr @about.0, ptr @about.1, ptr @about.2, {word} {program.workspace_bytes}, "
        f"{word} {program.constant_bytes} }}",
    ]
    functions = _FUNCTIONS.format(
        prefix=prefix,
        word=word,
        kernels="\n".join(calls.declarations),
        permission=_PERMISSION if tiles else "  br label %begin",
        refused=f"[ {_CODES['NO_TILES']}, %clear ], " if tiles else "",
        errors=len(ERRORS),
        texts=len(texts),
        workspace=program.workspace_bytes,
        room=program.workspace_bytes + ALIGNMENT - 1,
        bump=ALIGNMENT - 1,
        alignment=ALIGNMENT,
        pointers="\n".join(calls.pointers),
        missing=calls.any_of("missing"),
        skewed=calls.any_of("skew"),
        calls="\n".join(calls.lines),
        **_CODES,
    )
    return "\n".join(data) + functions


class _Calls:
    """The main function's lines: the caller's pointers, read and checked, and the kernels' calls."""

    def __init__(self, program: Program, prefix: str, word: str) -> None:
        self.declarations: list[str] = []
        self.pointers: list[str] = []
        self.lines: list[str] = []
        self._prefix = prefix
        self._serial = 0
        self._tests = {"missing": ["false"], "skew": ["false"]}
        for role, values in (("input", program.inputs), ("output", [value for _, value in program.outputs])):
            for i, value in enumerate(values):
                self._pointer(role, i, value, word)
        for kind, tests in self._tests.items():
            for i, test in enumerate(tests[1:]):
                self.pointers.append(f"  %{kind}.all.{i + 1} = or i1 {self._so_far(kind, i)}, {test}")
        symbols: set[str] = set()
        for kernel, places in program.calls:
            if kernel.symbol not in symbols:
                symbols.add(kernel.symbol)
                self.declarations.append(f"declare void @{kernel.symbol}({', '.join(['ptr'] * len(places))})")
            arguments = ", ".join(f"ptr {self._address(place)}" for place in places)
            self.lines.append(f"  call void @{kernel.symbol}({arguments})")
        for place, number in program.copies:
            size = program.outputs[number][1].nbytes
            self.lines.append(f"  call ptr @memcpy(ptr %output.{number}, ptr {self._address(place)}, {word} {size})")

    def any_of(self, kind: str) -> str:
        """Whether one of the tests of a kind came out true."""
        return self._so_far(kind, len(self._tests[kind]) - 1)

    def _so_far(self, kind: str, i: int) -> str:
        return "false" if i == 0 else f"%{kind}.all.{i}"

    def _pointer(self, role: str, i: int, value: Value, word: str) -> None:
        name = f"{role}.{i}"
        self.pointers += [
            f"  %{name}.slot = getelementptr inbounds ptr, ptr %{role}s, i32 {i}",
            f"  %{name} = load ptr, ptr %{name}.slot",
            f"  %{name}.missing = icmp eq ptr %{name}, null",
            f"  %{name}.address = ptrtoint ptr %{name} to {word}",
            f"  %{name}.low = and {word} %{name}.address, {ITEM_BYTES[value.dtype] - 1}",
            f"  %{name}.skew = icmp ne {word} %{name}.low, 0",
        ]
        self._tests["missing"].append(f"%{name}.missing")
        self._tests["skew"].append(f"%{name}.skew")

    def _address(self, place: Place) -> str:
        if place.kind in ("input", "output"):
            return f"%{place.kind}.{place.at}"
        base = "%model" if place.kind == "workspace" else f"@{self._prefix}_constants"
        self._serial += 1
        self.lines.append(f"  %a{self._serial} = getelementptr i8, ptr {base}, i64 {place.at}")
        return f"%a{self._serial}"


def _strings(name: str, texts: Sequence[str]) -> list[str]:
    """Constants name.0, name.1, ... that hold C strings in UTF-8."""
    out = []
    for i, text in enumerate(texts):
        raw = text.encode() + b"\0"
        quoted = "".join(chr(c) if 32 <= c < 127 and c not in b'"\\' else f"\\{c:02x}" for c in raw)
        out.append(f'@{name}.{i} = internal constant [{len(raw)} x i8] c"{quoted}"')
    return out


def _list(ty: str, name: str, count: int) -> str:
    return ", ".join(f"{ty} {name}.{i}" for i in range(count))


def _tensors(role: str, items: Sequence[tuple[str, Value]], word: str) -> list[str]:
    """The descriptions of all inputs or outputs."""
    out = _strings(f"{role}_name", [name for name, _ in items])
    ty = f"{{ ptr, ptr, i32, i32, {word} }}"
    entries = []
    for i, (_, value) in enumerate(items):
        extents = ", ".join(f"i64 {extent}" for extent in value.shape)
        out.append(f"@{role}_shape.{i} = internal constant [{len(value.shape)} x i64] [{extents}]")
        entries.append(
            f"{ty} {{ ptr @{role}_name.{i}, ptr @{role}_shape.{i}, i32 {len(value.shape)}, "
            f"i32 {DTYPES.index(value.dtype)}, {word} {value.nbytes} }}"
        )
    out.append(f"@{role}s = internal constant [{len(items)} x {ty}] [{', '.join(entries)}]")
    return out
