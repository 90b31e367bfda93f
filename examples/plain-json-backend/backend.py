#!/usr/bin/env python3
"""A backend for Driftline devices by hand: docs/protocol.md in its JSON form, and nothing else."""
import copy, hashlib, json, re, secrets, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACCOUNTS = {"Bearer token-of-ada": "ada", "Bearer token-of-ben": "ben"}
START, PAGE, turn, workspaces = {"version": 0, "hash": "0" * 16}, 500, threading.Lock(), {}

class Workspace:
    def __init__(self):
        self.documents, self.verdicts, self.log = {}, {}, []
        self.cursors = [{"version": 0, "hash": secrets.token_hex(8)}]

    def sync(self, request, account):
        cursor = request.get("cursor", START)
        if cursor != START and cursor not in self.cursors[cursor["version"]:][:1]:
            return 409, {"code": "history_changed"}
        results = [self.decide(op) for op in request.get("ops", [])]
        page = self.log[cursor["version"]:][:PAGE]
        end = cursor["version"] + len(page)
        return 200, {"results": results, "versions": page, "cursor": self.cursors[end], "account": account,
                     "has_more": end < len(self.log), "server_time": time.time_ns() // 10**6}

    def decide(self, op):
        if isinstance(op, str):  # An id alone asks what became of it.
            return {"id": op, **self.verdicts.get(op, {"outcome": "unknown"})}
        if op["id"] not in self.verdicts:  # The first answer is the answer.
            first = self.verdicts.get(op.get("retry_of"), {"outcome": "rejected"})
            accepted = first["outcome"] == "rejected" and not op.get("withdraw") and self.merge(op)
            verdict = accepted or (first if first["outcome"] != "rejected" else {"outcome": "rejected", "refusal": {
                "code": "withdrawn" if op.get("withdraw") else "not_found", "message": "refused by the backend"}})
            self.verdicts.update({id: verdict for id in (self.log[-1]["ids"] if accepted else [op["id"], *op.get("covers", [])])})
        return {"id": op["id"], **self.verdicts[op["id"]]}

    def merge(self, op):  # Whoever comes last wins. All of the op counts, or nothing of it.
        changed, landed, version = {}, [], len(self.log) + 1
        write = {"op": op["id"], "stamp": str(time.time_ns() // 10**6 << 16), "version": version}
        for change in op["changes"]:
            key, kind = (change["collection"], change["document"]), change.get("kind", "update")
            state = changed.get(key) or copy.deepcopy(self.documents.get(key))
            if state is None and kind != "insert":
                return None
            if kind in ("insert", "restore") and state and "life" not in state:
                landed.append({"collection": key[0], "document": key[1], "landed": state["generation"]["opener"]})
            elif kind in ("insert", "restore"):
                kept = state if kind == "restore" else {"registers": {}, "counters": {}, "sets": {}}
                state = {**kept, "generation": {"opener": op["id"], "version": version}}
                state.pop("life", None)
            elif kind == "delete":
                state.setdefault("life", {"deleted": write})
            changed[key] = {**state, "version": version}
            if "life" in state:  # Who writes to what is deleted comes too late.
                continue
            state["registers"].update({f: {"value": value, **write} for f, value in change.get("registers", {}).items()})
            for field, by in change.get("increments", {}).items():
                state["counters"][field] = str(int(state["counters"].get(field, 0)) + int(by))
            for field, elements in change.get("removes", {}).items():
                [state["sets"].get(field, {}).pop(element, None) for element in elements]
            for field, elements in change.get("adds", {}).items():
                state["sets"].setdefault(field, {}).update({element: [[op["id"], version]] for element in elements})
        self.documents.update(changed)
        ids = [op["id"], *op.get("covers", []), *([op["retry_of"]] if "retry_of" in op else [])]
        self.log.append({"version": version, "ids": ids, "landed": landed, "documents": [
            {"collection": c, "document": d, "whole": True, "state": state} for (c, d), state in changed.items()]})
        chained = (self.cursors[-1]["hash"] + json.dumps(self.log[-1])).encode()
        self.cursors.append({"version": version, "hash": hashlib.blake2b(chained, digest_size=8).hexdigest()})
        return {"outcome": "accepted", "version": version}

class Handler(BaseHTTPRequestHandler):  # Without do_GET: 501, there is no snapshot and no live socket.
    protocol_version, log_message = "HTTP/1.1", lambda *_: None

    def do_POST(self):
        body, account = self.rfile.read(int(self.headers.get("content-length", 0))), ACCOUNTS.get(self.headers.get("authorization"))
        named = re.fullmatch(r"/v1/workspaces/([A-Za-z0-9][A-Za-z0-9_-]{0,62})/sync", self.path)
        try:
            request = json.loads(body)
            if not account: status, answer = 401, {"code": "unauthorized"}
            elif not named: status, answer = 404, {"code": "not_found"}
            elif request.get("account", account) != account: status, answer = 403, {"code": "wrong_account"}
            else:
                with turn: status, answer = workspaces.setdefault(named[1], Workspace()).sync(request, account)
        except (ValueError, KeyError, TypeError, AttributeError): status, answer = 400, {"code": "malformed"}
        reply = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

server = ThreadingHTTPServer(("127.0.0.1", int((sys.argv[1:] or ["4200"])[0])), Handler)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
