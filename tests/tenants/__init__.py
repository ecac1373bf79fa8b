"""A site of django-tenants: each shop has a schema of its own."""
