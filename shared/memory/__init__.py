"""What a device remembers, as both sides read it: items, how facts follow one another, and what
speaks of something.

Pure. Where items lie, and who may write them, is the device's matter; how they are found, `shared.retrieval`'s.
"""
