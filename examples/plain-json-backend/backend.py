"""A backend for Driftline devices by hand: docs/protocol.md in its JSON form, and nothing else."""
import copy, json, re, secrets, sys, time
from wsgiref.simple_server import make_server

ACCOUNTS, PAGE, workspaces = {"Bearer token-of-ada": "ada", "Bearer token-of-ben": "ben"}, 500, {}

class Workspace:
    def __init__(self):
        self.documents, self.verdicts, self.log, self.cursors = {}, {}, [], [{"version": 0, "hash": secrets.token_hex(8)}]

    def sync(self, request, account):
        if request.get("account", account) != account: return "403 Forbidden", {"code": "wrong_account"}
        start = (at := request.get("cursor", {"version": 0, "hash": "0"}))["version"]
        if int(at["hash"], 16) and at not in self.cursors[start:start + 1]: return "409 Conflict", {"code": "history_changed"}
        results, page = [self.decide(op) for op in request.get("ops", [])], self.log[start:start + PAGE]
        return "200 OK", {"results": results, "versions": page, "cursor": self.cursors[start + len(page)],
            "has_more": start + len(page) < len(self.log), "account": account, "server_time": time.time_ns() // 10**6}

    def decide(self, op):
        if isinstance(op, str): return {"id": op, **self.verdicts.get(op, {"outcome": "unknown"})}  # What became of it?
        if op["id"] not in self.verdicts:  # The first answer is the answer, to a retry too.
            ids = [op["id"], *op.get("covers", []), *filter(None, [op.get("retry_of")])]
            code, first = "withdrawn" if op.get("withdraw") else "not_found", self.verdicts.get(op.get("retry_of"), {})
            refused = {"outcome": "rejected", "refusal": {"code": code, "message": "refused by the backend"}}
            taken = first if first.get("outcome") == "accepted" else not op.get("withdraw") and self.merge(op, ids)
            self.verdicts.update(dict.fromkeys(ids, taken or refused))
        return {"id": op["id"], **self.verdicts[op["id"]]}

    def merge(self, op, ids):  # Whoever comes last wins. All of the op counts, or nothing of it.
        changed, landed, version = {}, [], len(self.log) + 1
        write = {"op": op["id"], "stamp": str(time.time_ns() // 10**6 << 16), "version": version}
        for change in op["changes"]:
            name, kind = {part: change[part] for part in ("collection", "document")}, change.get("kind", "update")
            key = tuple(name.values())
            state = (changed.get(key) or copy.deepcopy(self.documents.get(key, {}))).get("state")
            if state is None and kind != "insert": return None
            if kind in ("insert", "restore") and state and "life" not in state:
                landed.append({**name, "landed": state["generation"]["opener"]})
            elif kind in ("insert", "restore"):
                state = state if kind == "restore" else {"registers": {}, "counters": {}, "sets": {}}
                state.update(generation={"opener": op["id"], "version": version}), state.pop("life", None)
            elif kind == "delete": state.setdefault("life", {"deleted": write})
            changed[key] = {**name, "whole": True, "state": {**state, "version": version}}
            of = lambda part: () if "life" in state else change.get(part, {}).items()  # Deleted: the write comes too late.
            registers, counters, sets = state["registers"], state["counters"], state["sets"]
            for field, value in of("registers"): registers[field] = {"value": value, **write}
            for field, by in of("increments"): counters[field] = str(int(counters.get(field, 0)) + int(by))
            for field, gone in of("removes"): [sets.get(field, {}).pop(element, None) for element in gone]
            for field, new in of("adds"): sets.setdefault(field, {}).update(dict.fromkeys(new, [[op["id"], version]]))
        self.documents.update(changed)
        self.log.append({"version": version, "ids": ids, "landed": landed, "documents": list(changed.values())})
        self.cursors.append({"version": version, "hash": secrets.token_hex(8)})
        return {"outcome": "accepted", "version": version}

def serve(env, start):
    account, sent = ACCOUNTS.get(env.get("HTTP_AUTHORIZATION")), env["wsgi.input"].read(int(env["CONTENT_LENGTH"] or 0))
    asked = re.fullmatch(r"POST /v1/workspaces/([A-Za-z0-9][A-Za-z0-9_-]{0,62})/sync", "{REQUEST_METHOD} {PATH_INFO}".format(**env))
    status, body = ("501 Not Implemented", {}) if account else ("401 Unauthorized", {"code": "unauthorized"})
    if account and asked:
        try: status, body = workspaces.setdefault(asked[1], Workspace()).sync(json.loads(sent), account)
        except (ValueError, KeyError, TypeError, AttributeError): status, body = "400 Bad Request", {"code": "malformed"}
    start(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]

with make_server("127.0.0.1", int((sys.argv[1:] or ["4200"])[0]), serve) as server:
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
