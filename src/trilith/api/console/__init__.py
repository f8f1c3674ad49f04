"""Consoles in a browser: the pages of noVNC, and the websockets that Nova's console URLs lead to."""
