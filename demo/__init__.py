"""`make demo`: the whole cloud on this machine, shown on real guests through its public API only."""
