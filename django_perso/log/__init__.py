"""The log of a conversation on the wire: `perso.log.1`. Knows neither Django nor rows.

`frames` has the table of frames and parses them, `payloads` reads JSON from browsers,
`codes` are the codes that close a socket.
"""
