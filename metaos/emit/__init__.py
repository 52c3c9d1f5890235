"""IR to machine code: one LLVM module, one object, one `Code` a device and phase."""
