"""A host project with difficult settings and URLs, and the tests that run in it."""
