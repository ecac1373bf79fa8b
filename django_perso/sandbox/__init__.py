"""A local Perso: REST, streamed replies and a real WebRTC avatar, for demos and tests.

It imports Django and aiortc, but nothing else of this project, which uses it by HTTP.
`urls` maps its routes, `wsgi` serves it alone.
"""
