"""uvicorn's path for the class of `--http zttp`. Importing it needs zttp."""

from pounce.connection.http1_zttp import RequestResponseCycle as RequestResponseCycle, ZttpProtocol as ZttpProtocol
