"""A local Perso: REST, streamed replies and a real WebRTC avatar, for demos and tests.

An island. It imports Django and aiortc and nothing else of this project; the rest reaches it over HTTP only.
`urls` is the way in, `wsgi` serves it alone.
"""
