"""ELF files, as far as deployment needs them: a section's content sent to the end of the file."""

from __future__ import annotations

import struct

from compiler.errors import CodegenError


def section_at_end(image: bytes, name: str, nbytes: int, alignment: int) -> bytes:
    """An object whose section `name` is the `nbytes` that whoever writes it appends, at a multiple of `alignment`.

    LLVM takes long over large constants, and what it makes of a network without its weights can be kept and used again;
    so it is given a byte in their place. The content goes to the end of the file, where the section's header sends
    whoever reads it.

    Raises:
        CodegenError: there is no such section.
    """
    wide = image[4] == 2
    headers = struct.unpack_from("<Q" if wide else "<I", image, 40 if wide else 32)[0]
    size, count, names = struct.unpack_from("<HHH", image, 58 if wide else 46)
    place, place_at = ("<QQ", 24) if wide else ("<II", 16)  # of a section's offset and size in its header
    texts = struct.unpack_from(place, image, headers + names * size + place_at)[0]
    for header in range(headers, headers + count * size, size):
        text = texts + struct.unpack_from("<I", image, header)[0]
        if image[text : image.index(b"\0", text)] == name.encode():
            out = bytearray(image)
            out.extend(bytes(-len(out) % alignment))
            struct.pack_into(place, out, header + place_at, len(out), nbytes)
            return bytes(out)
    raise CodegenError(f"the object has no section {name}")
