"""An OpenAI-compatible server on this machine, for tests: answers with a function, and remembers what it was asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class _Patient(ThreadingHTTPServer):
    # As many may knock at once as a batch asks; more than the usual five are turned away where a machine is busy.
    request_queue_size = 128


class ChatServer:
    """Serves the models of ``answers``: a request -> (text, finish reason), or (status, error message)."""

    def __init__(self, answers):
        self.answers, self.requests, self.keys = answers, [], []
        self.lists_models = True
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if outer.lists_models:
                    self.say(
                        200, {"object": "list", "data": [{"id": name, "object": "model"} for name in outer.answers]}
                    )
                else:
                    self.say(404, {"error": {"message": "no such route"}})

            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.requests.append(request)
                    outer.keys.append(self.headers["Authorization"])
                    found = outer.answers[request["model"]](request)
                if isinstance(found[0], int):
                    return self.say(found[0], {"error": {"message": found[1]}})
                text, reason = found
                read = sum(len(turn["content"].split()) for turn in request["messages"])
                written = len(text.split())
                self.say(
                    200,
                    {
                        "id": "1",
                        "object": "chat.completion",
                        "created": 0,
                        "model": request["model"],
                        "choices": [
                            {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
                        ],
                        "usage": {
                            "prompt_tokens": read,
                            "completion_tokens": written,
                            "total_tokens": read + written,
                        },
                    },
                )

            def say(self, status, content):
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = _Patient(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def chat_server(monkeypatch):
    """Makes servers; none of the user's own variables counts."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    made = []

    def start(**answers):
        made.append(ChatServer(answers))
        return made[-1]

    yield start
    for server in made:
        server.close()
