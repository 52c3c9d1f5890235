"""The finished image in unicorn: from the boot sector to answers."""
