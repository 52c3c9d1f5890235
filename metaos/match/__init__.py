"""Which pattern serves which device, for which system."""
