"""uvicorn's path for the class of `--http zttp --http2`. Importing it needs zttp."""

from pounce.connection.http2_auto_zttp import HTTP2_PREFACE as HTTP2_PREFACE, AutoZttpProtocol as AutoZttpProtocol
