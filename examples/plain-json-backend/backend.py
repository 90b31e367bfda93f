#!/usr/bin/env python3
"""A backend for Driftline devices by hand: docs/protocol.md in its JSON form, and nothing else."""
import copy, hashlib, json, re, secrets, sys, time
from wsgiref.simple_server import make_server

ACCOUNTS, PAGE, workspaces = {"Bearer token-of-ada": "ada", "Bearer token-of-ben": "ben"}, 500, {}

class Workspace:
    def __init__(self):
        self.documents, self.verdicts, self.log = {}, {}, []
        self.cursors = [{"version": 0, "hash": secrets.token_hex(8)}]

    def sync(self, request, account):
        start = (cursor := request.get("cursor", {"version": 0, "hash": "0" * 16}))["version"]
        if int(cursor["hash"], 16) and cursor not in self.cursors[start:start + 1]:
            return "409 Conflict", {"code": "history_changed"}
        results, page = [self.decide(op) for op in request.get("ops", [])], self.log[start:start + PAGE]
        return "200 OK", {"results": results, "versions": page, "cursor": self.cursors[start + len(page)],
            "has_more": start + len(page) < len(self.log), "account": account, "server_time": time.time_ns() // 10**6}

    def decide(self, op):
        if isinstance(op, str): return {"id": op, **self.verdicts.get(op, {"outcome": "unknown"})}  # What became of it?
        if op["id"] not in self.verdicts:  # The first answer is the answer, to a retry too.
            code, ids = "withdrawn" if op.get("withdraw") else "not_found", [op["id"], *op.get("covers", [])]
            refused = {"outcome": "rejected", "refusal": {"code": code, "message": "refused by the backend"}}
            first = self.verdicts.get(op.get("retry_of"), refused)
            taken = first if first["outcome"] == "accepted" else not op.get("withdraw") and self.merge(op, ids)
            self.verdicts.update(dict.fromkeys(ids, taken or refused))
        return {"id": op["id"], **self.verdicts[op["id"]]}

    def merge(self, op, ids):  # Whoever comes last wins. All of the op counts, or nothing of it.
        changed, landed, version = {}, [], len(self.log) + 1
        write = {"op": op["id"], "stamp": str(time.time_ns() // 10**6 << 16), "version": version}
        for change in op["changes"]:
            key, kind = (change["collection"], change["document"]), change.get("kind", "update")
            state = changed.get(key) or copy.deepcopy(self.documents.get(key))
            if state is None and kind != "insert": return None
            if kind in ("insert", "restore") and state and "life" not in state:
                landed.append({"collection": key[0], "document": key[1], "landed": state["generation"]["opener"]})
            elif kind in ("insert", "restore"):
                state = state if kind == "restore" else {"registers": {}, "counters": {}, "sets": {}}
                state.update(generation={"opener": op["id"], "version": version}), state.pop("life", None)
            elif kind == "delete": state.setdefault("life", {"deleted": write})
            changed[key] = {**state, "version": version}
            if "life" in state: continue  # Who writes to what is deleted comes too late.
            registers, counters, sets = state["registers"], state["counters"], state["sets"]
            for field, value in change.get("registers", {}).items(): registers[field] = {"value": value, **write}
            for field, by in change.get("increments", {}).items(): counters[field] = str(int(counters.get(field, 0)) + int(by))
            for field, gone in change.get("removes", {}).items(): [sets.get(field, {}).pop(element, None) for element in gone]
            for field, new in change.get("adds", {}).items():
                sets.setdefault(field, {}).update(dict.fromkeys(new, [[op["id"], version]]))
        self.documents.update(changed)
        ids += [op["retry_of"]] if "retry_of" in op else []
        self.log.append({"version": version, "ids": ids, "landed": landed, "documents": [
            {"collection": c, "document": d, "whole": True, "state": s} for (c, d), s in changed.items()]})
        chained = self.cursors[-1]["hash"] + json.dumps(self.log[-1])
        self.cursors.append({"version": version, "hash": hashlib.sha256(chained.encode()).hexdigest()[:16]})
        return {"outcome": "accepted", "version": version}

def answer(env):
    account, body = ACCOUNTS.get(env.get("HTTP_AUTHORIZATION")), env["wsgi.input"].read(int(env["CONTENT_LENGTH"] or 0))
    asked = re.fullmatch(r"POST /v1/workspaces/([A-Za-z0-9][A-Za-z0-9_-]{0,62})/sync", "{REQUEST_METHOD} {PATH_INFO}".format(**env))
    if not asked: return "501 Not Implemented", {}  # There is no snapshot and no live socket.
    if not account: return "401 Unauthorized", {"code": "unauthorized"}
    try:
        if (request := json.loads(body)).get("account", account) != account: return "403 Forbidden", {"code": "wrong_account"}
        return workspaces.setdefault(asked[1], Workspace()).sync(request, account)
    except (ValueError, KeyError, TypeError, AttributeError): return "400 Bad Request", {"code": "malformed"}

def serve(env, start):
    status, body = answer(env)
    start(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]

server = make_server("127.0.0.1", int((sys.argv[1:] or ["4200"])[0]), serve)
print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
