"""A host project that makes life hard for an app: settings, URLs and the tests that run with them."""
