"""What runs inside of the confinement: standard library only, in a folder of its own, so that no name of ours
shadows one of Python's."""
