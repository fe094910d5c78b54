"""How a client written in Python is driven: one JSON object a line on stdin, one reply a line on stdout."""
import json
import sys
import traceback


class Unsupported(Exception):
    """The client has no such thing; the cell of the table says so."""


class Refused(Exception):
    """An error that the broker or the client gave; `code` is Kafka's error code, or None where the client hides it."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def serve(verbs, refusal):
    """`verbs` has a method a verb; `refusal(exception)` gives the code that the client's own exceptions carry."""
    for line in sys.stdin:
        command = json.loads(line)
        verb = command.pop("do")
        try:
            method = getattr(verbs, "do_" + verb, None)
            if method is None:
                raise Unsupported(verb)
            reply = {"ok": method(**command)}
        except Unsupported as why:
            reply = {"unsupported": str(why)}
        except Exception as error:
            traceback.print_exc()
            code = error.code if isinstance(error, Refused) else refusal(error)
            reply = {"error": {"code": code, "text": f"{type(error).__name__}: {error}"}}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
