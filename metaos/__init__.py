"""MetaOS: a compiler whose target is one machine."""
