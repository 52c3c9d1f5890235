"""`metaos trace`: one turn of an image's machine code, step by step, without QEMU."""
