"""Models of devices, written from their manuals, for the interpreter and for unicorn."""
