"""uvicorn's path for the class of `--http zttp --http2`. Importing it needs zttp."""

from pounce.connection.http1_zttp import ZttpProtocol
from pounce.connection.http2 import HTTP2Protocol as ZttpH2Protocol
from pounce.connection.http2_auto import negotiator
from pounce.wire.http2_frames import PREFACE as HTTP2_PREFACE

__all__ = ["HTTP2_PREFACE", "AutoZttpProtocol", "ZttpH2Protocol", "ZttpProtocol"]

AutoZttpProtocol = negotiator(ZttpProtocol)
