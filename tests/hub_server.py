"""The HTTP API of the Hugging Face hub on this machine, for tests: what the real client asks, answered from memory.

Also a script, for trying the commands by hand::

    python tests/hub_server.py --port 8765
    HF_ENDPOINT=http://127.0.0.1:8765 HF_TOKEN=token-of-somebody HF_HUB_DISABLE_XET=1 interlat push ...
"""

import argparse
import base64
import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

LARGE = (".safetensors", ".gguf", ".parquet")
"""Ends of the names of files that go as large ones, apart from git."""
STALLED_AFTER = 0.5
"""The share of a file that is sent before a download stalls."""


@dataclass
class Repository:
    """A repository with its branches; a commit is a mapping from paths to contents."""

    private: bool
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch, files, message):
        name = hashlib.sha1(f"{branch}{len(self.commits)}{message}{id(self)}".encode()).hexdigest()
        self.commits[name], self.branches[branch] = files, name
        self.messages.append(message)
        return name

    def files(self, revision="main"):
        return self.commits[self.branches.get(revision, revision)]


class HubServer:
    """Owners are known by their tokens: ``token-of-somebody`` may write to ``somebody/...``."""

    def __init__(self, port=0):
        self.repositories = {}
        self.large = {}
        self.requests = []
        self.refused = {}
        """(method, regular expression of the path) -> status; a request that fits is refused."""
        self.damaged = set()
        """Paths of files whose bytes are sent with one bit changed."""
        self.stalls = ""
        """Regular expression of paths: a download stops in the middle, an upload before its end, until `go_on`."""
        self.stalled, self.go_on = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer._answer(self)

            do_POST = do_PUT = do_HEAD = do_DELETE = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def model(self, name):
        return self.repositories["models", name]

    def data_set(self, name):
        return self.repositories["datasets", name]

    def put(self, kind, name, path, content):
        """Let a repository hold other bytes, as if somebody had uploaded them."""
        self.repositories[kind, name].files()[path] = content
        self.large[_sha256(content)] = content

    def asked(self, method, pattern):
        """How often something was asked."""
        return sum(one == method and bool(re.search(pattern, path)) for one, path in self.requests)

    # What is asked.

    def _answer(self, request):
        length = int(request.headers.get("Content-Length") or 0)
        address = urlsplit(request.path)
        path, query = unquote(address.path), parse_qs(address.query)
        if request.command == "PUT" and self.stalls and re.search(self.stalls, path):
            request.rfile.read(length // 2)
            self.stalled.set()
            self.go_on.wait()
            return None
        body = request.rfile.read(length) if length else b"".join(_chunks(request))
        self.requests.append((request.command, path))
        for (method, pattern), status in self.refused.items():
            if method == request.command and re.search(pattern, path):
                return _say(request, status, {"error": f"refused with {status}"})
        owner = self._owner(request)
        if owner is None:
            headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return _say(request, 401, {"error": "Invalid credentials in Authorization header"}, headers)
        for method, pattern, action in self._routes():
            found = re.fullmatch(pattern, path)
            if found and method == request.command.replace("HEAD", "GET"):
                return action(request, owner, body, query, **found.groupdict())
        return _say(request, 404, {"error": f"no route for {request.command} {path}"})

    def _routes(self):
        repository = r"/api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)"
        link = r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)"
        return [
            ("POST", "/api/repos/create", self._create),
            ("POST", "/api/validate-yaml", self._validate),
            ("POST", rf"{repository}/branch/(?P<branch>.+)", self._branch),
            ("POST", rf"{repository}/preupload/(?P<revision>.+)", self._preupload),
            ("POST", rf"{repository}/commit/(?P<revision>.+)", self._commit),
            ("GET", rf"{repository}/tree/(?P<revision>[^/]+)", self._tree),
            ("GET", rf"{repository}(/revision/(?P<revision>.+))?", self._info),
            ("POST", rf"{link}\.git/info/lfs/objects/batch", self._batch),
            ("PUT", "/large/(?P<digest>[0-9a-f]{64})", self._take),
            ("POST", "/large/verify", self._verify),
            ("GET", "/large/(?P<digest>[0-9a-f]{64})/(?P<place>.+)", self._give),
            ("GET", rf"{link}/resolve/(?P<revision>[^/]+)/(?P<place>.+)", self._resolve),
        ]

    @staticmethod
    def _owner(request):
        """Whose token it is; empty without one, None where it is wrong."""
        given = request.headers.get("Authorization")
        if not given:
            return ""
        found = re.fullmatch(r"Bearer token-of-(\w+)", given)
        return found[1] if found else None

    def _found(self, request, owner, kind, name, revision=None, contents=False):
        """The repository; None where an error was said."""
        repository = self.repositories.get((kind or "models", name))
        mine = name.startswith(f"{owner}/") and owner
        if repository is None or (repository.private and not mine):
            _say(request, 404 if owner else 401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        if repository.gated and contents and not mine:
            _say(request, 403, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"})
            return None
        if revision and revision not in repository.branches and revision not in repository.commits:
            _say(request, 404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return None
        return repository

    def _writable(self, request, owner, kind, name, revision=None):
        repository = self._found(request, owner, kind, name, revision)
        if repository is not None and (not owner or not name.startswith(f"{owner}/")):
            _say(request, 403, {"error": "no right to write"}, {"X-Error-Message": "no right to write"})
            return None
        return repository

    # How it is answered.

    def _create(self, request, owner, body, query):
        asked = json.loads(body)
        name, kind = f"{asked['organization'] or owner}/{asked['name']}", asked.get("type", "model") + "s"
        if not owner:
            return _say(request, 401, {"error": "Invalid username or password."})
        if not name.startswith(f"{owner}/"):
            return _say(request, 403, {"error": "no rights"}, {"X-Error-Message": "no right to create a repository"})
        url = f"{self.url}/{'datasets/' if kind == 'datasets' else ''}{name}"
        if (kind, name) in self.repositories:
            return _say(request, 409, {"error": "You already created this repo", "url": url})
        repository = self.repositories[kind, name] = Repository(asked.get("visibility") == "private")
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        return _say(request, 200, {"url": url})

    def _validate(self, request, owner, body, query):
        content = json.loads(body)["content"]
        found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        wrong = found and not isinstance(yaml.safe_load(found[1]), dict)
        errors = [{"message": "the metadata are no mapping"}] if wrong else []
        return _say(request, 400 if errors else 200, {"errors": errors, "warnings": []})

    def _branch(self, request, owner, body, query, kind, name, branch):
        repository = self._writable(request, owner, kind, name)
        if repository is None:
            return None
        if branch in repository.branches:
            return _say(request, 409, {"error": "Reference already exists"})
        repository.branches[branch] = repository.branches["main"]
        return _say(request, 200, {})

    def _preupload(self, request, owner, body, query, kind, name, revision):
        repository = self._writable(request, owner, kind, name, revision)
        if repository is None:
            return None
        there = repository.files(revision)
        files = []
        for asked in json.loads(body)["files"]:
            large = asked["path"].endswith(LARGE)
            content = there.get(asked["path"])
            oid = None if content is None else (_sha256(content) if large else _blob(content))
            mode = "lfs" if large else "regular"
            files.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return _say(request, 200, {"files": files})

    def _batch(self, request, owner, body, query, kind, name):
        if self._writable(request, owner, (kind or "models").strip("/"), name) is None:
            return None
        objects = []
        for asked in json.loads(body)["objects"]:
            digest = asked["oid"]
            upload = {"href": f"{self.url}/large/{digest}"}
            verify = {"href": f"{self.url}/large/verify"}
            actions = {} if digest in self.large else {"actions": {"upload": upload, "verify": verify}}
            objects.append({"oid": digest, "size": asked["size"], **actions})
        return _say(request, 200, {"transfer": "basic", "objects": objects})

    def _take(self, request, owner, body, query, digest):
        if _sha256(body) != digest:
            return _say(request, 400, {"error": "other bytes than were announced"})
        self.large[digest] = body
        return _say(request, 200, {})

    def _verify(self, request, owner, body, query):
        asked = json.loads(body)
        whole = len(self.large.get(asked["oid"], b"")) == asked["size"]
        return _say(request, 200 if whole else 404, {})

    def _commit(self, request, owner, body, query, kind, name, revision):
        repository = self._writable(request, owner, kind, name, revision)
        if repository is None:
            return None
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, repository.branches[revision]):
            return _say(request, 412, {"error": "A commit has happened since. Please refresh and try again."})
        files = dict(repository.files(revision))
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.large[value["oid"]]
        commit = repository.commit(revision, files, header["summary"])
        url = f"{self.url}/{'datasets/' if kind == 'datasets' else ''}{name}/commit/{commit}"
        return _say(request, 200, {"success": True, "commitUrl": url, "commitOid": commit})

    def _info(self, request, owner, body, query, kind, name, revision=None):
        repository = self._found(request, owner, kind, name, revision)
        if repository is None:
            return None
        commit = repository.branches.get(revision or "main", revision)
        siblings = [{"rfilename": path} for path in repository.files(commit)]
        return _say(
            request,
            200,
            {
                **{"_id": "0", "id": name, "sha": commit, "private": repository.private, "siblings": siblings},
                **{"gated": "auto" if repository.gated else False, "tags": [], "downloads": 0, "likes": 0},
            },
        )

    def _tree(self, request, owner, body, query, kind, name, revision):
        repository = self._found(request, owner, kind, name, revision)
        if repository is None:
            return None
        entries, folders = [], set()
        for path, content in sorted(repository.files(revision).items()):
            entry = {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
            if path.endswith(LARGE):
                entry["oid"] = hashlib.sha1(_sha256(content).encode()).hexdigest()
                entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
            folders |= {path.rpartition("/")[0]} - {""}
            entries.append(entry)
        entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        return _say(request, 200, entries)

    def _resolve(self, request, owner, body, query, kind, name, revision, place):
        repository = self._found(request, owner, (kind or "models").strip("/"), name, revision, contents=True)
        if repository is None:
            return None
        commit = repository.branches.get(revision, revision)
        content = repository.files(commit).get(place)
        headers = {"X-Repo-Commit": commit}
        if content is None:
            return _say(request, 404, {"error": "Entry not found"}, {**headers, "X-Error-Code": "EntryNotFound"})
        if not place.endswith(LARGE):
            return self._send(request, content, place, {**headers, "ETag": f'"{_blob(content)}"'})
        digest = _sha256(content)
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        # Another host than the hub's, as a network of caches is: the client asks the hub alone what a file is.
        headers["Location"] = f"{self.url.replace('127.0.0.1', 'localhost')}/large/{digest}/{place}"
        return _say(request, 302, {}, headers)

    def _give(self, request, owner, body, query, digest, place):
        return self._send(request, self.large[digest], place, {"ETag": f'"{digest}"'})

    def _send(self, request, content, place, headers):
        if place in self.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        start = int(found[1]) if found else 0
        request.send_response(206 if found else 200)
        if found:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "HEAD":
            return
        if self.stalls and re.search(self.stalls, place) and not self.go_on.is_set():
            request.wfile.write(content[start : start + int(len(content) * STALLED_AFTER)])
            request.wfile.flush()
            self.stalled.set()
            self.go_on.wait()
            request.close_connection = True
            return
        request.wfile.write(content[start:])


def _chunks(request):
    """A body that is sent in chunks."""
    while request.headers.get("Transfer-Encoding") == "chunked":
        size = int(request.rfile.readline().split(b";")[0], 16)
        yield request.rfile.read(size)
        request.rfile.readline()
        if not size:
            return


def _say(request, status, content, headers=None):
    body = json.dumps(content).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def point_at(monkeypatch, url):
    """Let the client take another address for the hub's, as HF_ENDPOINT does where it is set from the start."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub_server(monkeypatch, tmp_path_factory):
    """The server, and a client that is logged in there as ``somebody``."""
    from huggingface_hub import constants

    server = HubServer()
    home = tmp_path_factory.mktemp("hub-home")
    # The protocol of large files that the server speaks; the other needs a server for chunks.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    point_at(monkeypatch, server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setenv("HF_TOKEN", "token-of-somebody")
    # Of the same for a command in a process of its own.
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    # The client reads this variable when it is imported.
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield server
    server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    server = HubServer(parser.parse_args().port)
    print(server.url, flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
