"""An advice as one page that needs nothing else: no network, no script; in English or Chinese."""
