"""The straight-line IR: its ops, builder, checker, text form and interpreter."""
