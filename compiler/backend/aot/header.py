"""The C interface of a deployed network: its header, and the numbers in it.

`compiler.backend.aot.interface` generates what this declares; `runtime.shared_library` reads it.
"""

from __future__ import annotations

import json

from compiler.backend.aot.program import ALIGNMENT, Program

ABI_VERSION = 1
"""Of the functions and structures; a reader refuses another one."""

ERRORS = (
    ("OK", "success"),
    ("BAD_ARGUMENT", "a pointer is NULL"),
    ("OUT_OF_MEMORY", "the workspace cannot be allocated"),
    ("ARENA_TOO_SMALL", "the arena has fewer bytes than workspace_bytes"),
    ("MISALIGNED", "the arena is not aligned to 64 bytes, or a tensor not to its element"),
    ("NO_TILES", "the system gives no permission to use the processor's tile registers (AMX)"),
)
"""Error codes in order, from 0: name and meaning."""

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64", "bool")
"""Element types in order, from 0."""

_TYPES = """\
/* Types shared by all models; the interface's version is in vdla_model_info_t.abi_version. */
#ifndef VDLA_MODEL_TYPES_H
#define VDLA_MODEL_TYPES_H

#define VDLA_ABI_VERSION {abi}
#define VDLA_WORKSPACE_ALIGNMENT {alignment}

/* What every function returns. */
enum {{
{errors}
}};

/* Types of elements; a bool is one byte, 0 or 1. */
enum {{
{dtypes}
}};

/* An input or output: dense, row-major. */
typedef struct {{
  const char *name;
  const int64_t *shape; /* `rank` extents */
  int32_t rank;
  int32_t dtype;
  size_t bytes;
}} vdla_tensor_info_t;

typedef struct {{
  int32_t abi_version;
  int32_t input_count;
  int32_t output_count;
  const vdla_tensor_info_t *inputs;
  const vdla_tensor_info_t *outputs;
  const char *model;       /* the network's name */
  const char *platform;    /* what it was compiled for */
  const char *kit_version; /* by which version of the compiler */
  size_t workspace_bytes;  /* that one instance needs */
  size_t constant_bytes;   /* weights, inside the library */
}} vdla_model_info_t;

/* One instance of a model: a workspace. */
typedef struct vdla_model vdla_model_t;

#endif
"""

_FUNCTIONS = """\
#ifndef {guard}
#define {guard}

#include <stddef.h>
#include <stdint.h>

{types}
#ifdef __cplusplus
extern "C" {{
#endif

/* What the model is; static, never NULL. */
const vdla_model_info_t *{prefix}_model_info(void);

/* What an error code means, in English; static, never NULL. */
const char *{prefix}_error_text(int32_t code);

/* Makes an instance in `arena`: at least workspace_bytes, aligned to VDLA_WORKSPACE_ALIGNMENT, the caller's for as long
   as the instance lives. With NULL it is allocated (`arena_bytes` does not matter then). On an error *model is NULL. */
int32_t {prefix}_create(vdla_model_t **model, void *arena, size_t arena_bytes);

/* Gives back what create allocated. NULL is allowed. */
void {prefix}_destroy(vdla_model_t *model);

/* One inference: `inputs` and `outputs` hold one pointer for each tensor of the model's info, in order, which overlap
   nowhere. Reads and writes them in place; allocates nothing. One instance runs in one thread at a time, several
   instances may run at once. */
int32_t {prefix}_run(vdla_model_t *model, const void *const *inputs, void *const *outputs);

/* How many threads a run may use, the caller's included (1 at the start). Not while a run is going on. */
int32_t {prefix}_set_threads(int32_t threads);

#ifdef __cplusplus
}}
#endif

#endif
"""


def header(program: Program, prefix: str) -> str:
    """The C header of a model whose functions start with `prefix`."""
    tensors = [
        f"   {role} {i}: {json.dumps(name)}, {value.dtype}[{','.join(map(str, value.shape))}]"
        for role, items in (("input", [(v.name, v) for v in program.inputs]), ("output", program.outputs))
        for i, (name, value) in enumerate(items)
    ]
    about = "\n".join([f"/* The network {json.dumps(program.name)}, compiled ahead of time.", *tensors])
    types = _TYPES.format(
        abi=ABI_VERSION,
        alignment=ALIGNMENT,
        errors=",\n".join(f"  VDLA_{name} = {i} /* {text} */" for i, (name, text) in enumerate(ERRORS)),
        dtypes=",\n".join(f"  VDLA_{name.upper()} = {i}" for i, name in enumerate(DTYPES)),
    )
    functions = _FUNCTIONS.format(guard=f"{prefix.upper()}_MODEL_H", types=types, prefix=prefix)
    return f"{about.replace('*/', '* /')} */\n{functions}"


def exports(prefix: str) -> list[str]:
    """The names of the functions."""
    return [f"{prefix}_{name}" for name in ("model_info", "error_text", "create", "destroy", "run", "set_threads")]
