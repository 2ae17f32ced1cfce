"""ELF files, as far as deployment needs them: filling a section of an object in."""

from __future__ import annotations

import struct

from compiler.errors import CodegenError


def fill_section(image: bytes, name: str, content: bytes) -> bytes:
    """An object in which the section `name`, which must have room, begins with `content`.

    LLVM takes long to read large constants as text; so it is given zeros, and the bytes come in here.

    Raises:
        CodegenError: there is no such section, or it is too small.
    """
    wide = image[4] == 2
    e_shoff = struct.unpack_from("<Q" if wide else "<I", image, 40 if wide else 32)[0]
    size, count, names = struct.unpack_from("<HHH", image, 58 if wide else 46)

    def section(i: int) -> tuple[int, int, int]:
        """Name, offset and size of a section."""
        at = e_shoff + i * size
        label = struct.unpack_from("<I", image, at)[0]
        start, length = struct.unpack_from("<QQ" if wide else "<II", image, at + (24 if wide else 16))
        return label, start, length

    texts = section(names)[1]
    for i in range(count):
        label, start, length = section(i)
        end = image.index(b"\0", texts + label)
        if image[texts + label : end] == name.encode():
            if length < len(content):
                raise CodegenError(f"section {name} holds {length} bytes, not {len(content)}")
            return b"".join([image[:start], content, image[start + len(content) :]])
    raise CodegenError(f"the object has no section {name}")
