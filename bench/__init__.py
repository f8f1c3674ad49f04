"""`make bench`: what Trilith costs in time and memory, beside its goals and beside the bare tools."""
