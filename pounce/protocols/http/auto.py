"""uvicorn's path for what `--http auto` chooses."""

from pounce.connection.pick import AutoHTTPProtocol as AutoHTTPProtocol
