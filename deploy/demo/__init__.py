"""`./run demo`: the story (`__main__`) and its processes (`stage`)."""
