"""What a debugger is told of an image: symbols, types and pattern lines."""
