"""Running QEMU: targets, networks, `metaos run` and `metaos test`."""
