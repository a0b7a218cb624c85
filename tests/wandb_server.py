"""A server on loopback that W&B's real client can open runs at and send rows to.

It keeps what it is sent, by run, and answers as the client expects: no more is known of the real
server than what its client asks. What it shows is that all rows leave this machine, once and in
order; not that the real one stores or draws them.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Mood = Literal["well", "hangs", "401", "429", "500"]


class RefusedError(Exception):
    """What the server does not want to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass
class Received:
    """What was sent of one run."""

    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Rows by their place in the run's history."""
    offsets: list[int] = field(default_factory=list)
    """Places at which the client began to add rows."""
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)
    preempting: bool = False
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was committed: name -> manifest, with the metadata beside it."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows in the order of the history."""
        return [self.lines[place] for place in sorted(self.lines)]


@dataclass
class Server:
    """The server, its address, its mood, and what it was sent."""

    url: str
    mood: Mood = "well"
    refuses: str = ""
    """Name of a question that is refused."""
    deleted: str = ""
    """Id of a run that was deleted, of which the real server says as much."""
    runs: dict[str, Received] = field(default_factory=dict)
    bodies: list[str] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Workspaces and reports by id."""
    pending: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Artifacts that were begun, by id."""
    uploaded: dict[str, int] = field(default_factory=dict)
    """Size of files that were uploaded for artifacts."""
    unknown: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    """What came as authorization."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path.startswith("/manifest/"):
            self.pending[path.split("/")[2]]["manifest"] = body
            return {}
        if "/file_stream" in path:
            return self._stream(path.split("/")[4], body)
        query = body.get("query", "")
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        name = found[1] if found else ""
        variables = body.get("variables") or {}
        known: dict[str, Any] = {
            "RunResumeStatus": self._resume_status,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._files,
            "NotifyScriptableRunAlert": self._alert,
            "ServerFeaturesQuery": lambda _: {"serverInfo": {"features": []}},
            "ArtifactType": lambda _: {"project": {"artifact": None}},
            "CreateArtifact": self._create_artifact,
            "CreateArtifactManifest": self._create_manifest,
            "CreateArtifactFiles": self._create_artifact_files,
            "CommitArtifact": self._commit_artifact,
            "ArtifactByID": self._artifact,
            "Viewer": self._viewer,
            "GetProjects": self._projects,
            "UpsertView2": self._upsert_view,
            "upsertView": self._upsert_view,
            "UpsertView": self._upsert_view,
        }
        if self.deleted and name == "UpsertBucket" and variables["name"] == self.deleted:
            raise RefusedError(409, f"run {variables['name']} was previously created and deleted")
        if self.refuses and self.refuses == name:
            raise RefusedError(400, "no")
        if name not in known:
            self.unknown.append(query)
            return {"data": {}}
        return {"data": known[name](variables)}

    def _resume_status(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(v["name"])
        bucket = None if run is None else self._bucket(v["name"], run)
        return {"model": {"id": "P", "name": v["project"], **_ENTITY, "bucket": bucket}}

    def _bucket(self, name: str, run: Received) -> dict[str, Any]:
        last = run.rows[-1:]
        return {
            "id": f"ID-{name}",
            "name": name,
            "displayName": run.facts.get("displayName") or name,
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps(run.config),
            "logLineCount": 0,
            "historyLineCount": len(run.lines),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in last]),
            "eventsTail": json.dumps([json.dumps({"_runtime": 0})]),
            "tags": run.facts.get("tags") or [],
            # Without it the client takes the run for one that never began, and does not resume.
            "wandbConfig": json.dumps({"t": 1}),
        }

    def _upsert(self, v: dict[str, Any]) -> dict[str, Any]:
        name = v.get("name") or str(v.get("id", "")).removeprefix("ID-")
        is_new = name not in self.runs
        run = self.runs.setdefault(name, Received())
        run.facts.update({key: value for key, value in v.items() if value is not None})
        if v.get("config"):
            run.config = json.loads(v["config"])
        project = {"id": "P", "name": v.get("project") or "p", **_ENTITY}
        bucket = {**self._bucket(name, run), "project": project, "sweepName": None}
        return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}

    def _files(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": n, "uploadUrl": f"{self.url}/upload/{n}"} for n in v["files"]]
        made = {"runID": f"ID-{v['run']}", "uploadHeaders": [], "files": files}
        return {"createRunFiles": made}

    def _create_artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        number = f"ARTIFACT-{len(self.pending)}"
        self.pending[number] = {"about": v["input"], "manifest": {}}
        made = {"id": number, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": made}}

    def _create_manifest(self, v: dict[str, Any]) -> dict[str, Any]:
        given = v.get("input", v)
        number = given["artifactID"]
        url = f"{self.url}/manifest/{number}"
        file = {"id": "F", "uploadUrl": url, "uploadHeaders": [], "displayName": "manifest"}
        made = {"id": f"M-{number}", "file": file}
        return {"createArtifactManifest": {"artifactManifest": made}}

    def _create_artifact_files(self, v: dict[str, Any]) -> dict[str, Any]:
        given = v.get("input") or v
        edges = []
        for file in given["artifactFiles"]:
            url = f"{self.url}/artifact/{file['name']}"
            node = {"id": "F", "name": file["name"], "displayName": file["name"], "uploadUrl": url}
            about = {"uploadHeaders": [], "uploadMultipartUrls": None, "artifact": {"id": "A"}}
            edges.append({"node": {**node, **about, "storagePath": None}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        number = v.get("artifactID") or v["input"]["artifactID"]
        made = self.pending[number]
        about = made["about"]
        run = self.runs.setdefault(about["runName"], Received())
        run.artifacts[about["artifactCollectionName"]] = made
        return {"commitArtifact": {"artifact": {"id": number, "digest": about["digest"]}}}

    def _artifact(self, v: dict[str, Any]) -> dict[str, Any]:
        about = self.pending[v["id"]]["about"]
        project = {"id": "P", "internalId": "P", "name": about["projectName"], **_ENTITY}
        sequence = {"__typename": "ArtifactSequence", "id": "S", "project": project}
        found = {
            "__typename": "Artifact",
            "id": v["id"],
            "artifactSequence": {**sequence, "name": about["artifactCollectionName"]},
            "artifactType": {"name": about["artifactTypeName"]},
            "metadata": about["metadata"],
            "digest": about["digest"],
            "tags": [],
            "aliases": [],
            "state": "COMMITTED",
            "createdAt": "2026-01-01T00:00:00",
        }
        numbers = ("versionIndex", "ttlDurationSeconds", "size", "fileCount")
        unknown = ("description", "historyStep", "updatedAt", "commitHash")
        rest = {**dict.fromkeys(numbers, 0), **dict.fromkeys(unknown)}
        return {"artifact": {**found, **rest, "ttlIsInherited": True}}

    def _alert(self, v: dict[str, Any]) -> dict[str, Any]:
        self.alerts.append(v)
        return {"notifyScriptableRunAlert": {"success": True}}

    def _viewer(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "V", "username": "u", "entity": "team", "flags": "{}"}}

    def _projects(self, v: dict[str, Any]) -> dict[str, Any]:
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": []}}

    def _upsert_view(self, v: dict[str, Any]) -> dict[str, Any]:
        number = v.get("id") or f"VIEW-{len(self.views)}"
        is_new = number not in self.views
        self.views[number] = v
        view = {**v, "id": number, "spec": v["spec"], "project": {"name": v["projectName"]}}
        return {"upsertView": {"view": view, "inserted": is_new}}

    def _stream(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(name, Received())
        for file, chunk in (body.get("files") or {}).items():
            if "history" in file:
                run.offsets.append(chunk["offset"])
                for number, line in enumerate(chunk["content"]):
                    run.lines[chunk["offset"] + number] = json.loads(line)
            elif "summary" in file:
                run.summary = json.loads(chunk["content"][-1])
        if body.get("complete"):
            run.exit_codes.append(int(body.get("exitcode") or 0))
        run.preempting = bool(body.get("preempting")) or run.preempting
        return {"exitcode": None, "limits": {}}


_ENTITY = {"entity": {"id": "E", "name": "team"}}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        made: Any = self.server
        server: Server = made.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        while server.mood == "hangs":
            time.sleep(0.1)
        server.keys.add(self.headers.get("Authorization") or "")
        server.bodies.append(body.decode(errors="replace"))
        if server.mood.isdigit():
            self._send(int(server.mood), b'{"errors": [{"message": "no"}]}')
            return
        if self.path.startswith("/artifact/"):
            server.uploaded[self.path.split("/")[2]] = len(body)
        try:
            with server.lock:
                answer = server.answer(self.path, _parsed(body))
        except RefusedError as refusal:
            said = {"errors": [{"message": refusal.message}]}
            self._send(refusal.status, json.dumps(said).encode())
            return
        self._send(200, json.dumps(answer).encode())

    def _send(self, status: int, content: bytes) -> None:
        with suppress(OSError):  # the client has given up
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:  # a file
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def serving() -> Iterator[Server]:
    """Serve on a free port of loopback until the block is left."""
    http: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.block_on_close = False
    server = http.state = Server(url=f"http://127.0.0.1:{http.server_address[1]}")
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.mood = "well"
        http.shutdown()
        http.server_close()
