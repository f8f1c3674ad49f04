"""`make conformance`: OpenStack's own integration suite, Tempest, against a fresh cloud."""
