#!/usr/bin/env python3
"""Checks `state_proof` answers, and computes ids, from the definitions alone.

It shares nothing with the node: H is hashlib's blake2b-256, the rest is here.

  verify_proof.py [FILE] [--state-root 0x..] [--path 0x21,0x..]
      FILE (or stdin) holds the JSON answer of `state_proof`, in its JSON-RPC envelope or not.
      Prints what the path holds; exits with 1 and a reason when the proof is wrong.
  verify_proof.py --ids [FILE]
      FILE (or stdin) holds a JSON list of capabilities; prints their ids, and trie roots where
      there is one: [{"id": "0x..", "root": "0x.."}, ..]
        {"data": "0x.."} | {"type": "0x.."} | {"cnode": [[key, cap], ..]} | {"image": {..}}
        {"instance": {"type", "image": {..}, "table": [[key, cap], ..], "status"}}
        {"native": {"name", "state"}}
"""
import argparse, hashlib, json, sys

ZERO = bytes(32)

def H(*parts): return hashlib.blake2b(b"".join(parts), digest_size=32).digest()
def unhex(text): return bytes.fromhex(text.removeprefix("0x"))
def tohex(data): return "0x" + data.hex()
def le(number, size): return int(number).to_bytes(size, "little")
def bit(path, i): return path[i // 8] >> (7 - i % 8) & 1

# -- ids ---------------------------------------------------------------------------------------

def data_id(data):
    level = [H(b"\x01", data[i:i + 4096]) for i in range(0, len(data), 4096)]
    while len(level) > 1:
        level += [ZERO] * (len(level) % 2)
        level = [H(b"\x02", l, r) for l, r in zip(level[::2], level[1::2])]
    return H(b"\x30", le(len(data), 8), level[0] if level else ZERO)

def trie_root(entries, depth=0):  # entries: [(H(key), cap id)]
    if not entries: return ZERO
    if len(entries) == 1: return H(b"\x03", *entries[0])
    sides = [[e for e in entries if bit(e[0], depth) == side] for side in (0, 1)]
    return H(b"\x04", *[trie_root(side, depth + 1) for side in sides])

def table_root(table): return trie_root([(H(unhex(key)), cap_id(cap)) for key, cap in table])

def instance_id(type_id, image, root, status):
    return H(b"\x10", type_id, H(b"\x11", image, root, status))

def cap_id(cap):
    (kind, value), = cap.items()
    if kind == "data": return data_id(unhex(value))
    if kind == "type": return H(b"\x50", unhex(value))
    if kind == "cnode": return H(b"\x40", table_root(value))
    if kind == "image": return H(b"\x20", scale_image(value))
    if kind == "native":
        type_id = H(b"\x54", value["name"].encode())
        return H(b"\x10", type_id, H(b"\x12", unhex(value["state"])))
    return instance_id(unhex(value["type"]), H(b"\x20", scale_image(value["image"])),
                       table_root(value["table"]), unhex(value["status"]))

# -- SCALE of an Image -------------------------------------------------------------------------

def compact(n):
    if n < 1 << 6: return le(n << 2, 1)
    if n < 1 << 14: return le(n << 2 | 1, 2)
    return le(n << 2 | 2, 4)

def blob(data): return compact(len(data)) + data
def vec(items): return compact(len(items)) + b"".join(items)
def keys(path): return vec([blob(unhex(key)) for key in path])
def option(value, encode): return b"\x00" if value is None else b"\x01" + encode(value)
def pairs(mapping, key): return sorted((key(k), v) for k, v in mapping.items())

def scale_role(role):
    name, *order = role if isinstance(role, list) else [role]
    return bytes([["Call", "View", "Genesis", "Schedule", "Transact", "Dispatch"].index(name), *order])

def scale_source(source):
    if "slot" in source: return b"\x00" + keys(source["slot"])
    return b"\x01" + option(source["init"], keys) + bytes([source["eager"]])

def scale_pinned(pinned):
    return b"\x00" + blob(unhex(pinned["data"])) if "data" in pinned else b"\x01" + scale_image(pinned["image"])

def scale_image(image):
    program = image["program"]
    return b"".join([
        blob(unhex(program["code"])), blob(unhex(program["bitmask"])),
        vec([le(target, 4) for target in program["jump_table"]]),
        vec([le(n, 1) + blob(e["name"].encode()) + scale_role(e["role"]) + le(e["pc"], 4)
             + vec([le(reg, 1) + le(v, 8) for reg, v in pairs(e["regs"], int)])
             for n, e in pairs(image["endpoints"], int)]),
        vec([le(m["start"], 4) + le(m["size"], 4) + scale_source(m["source"]) for m in image["memory"]]),
        vec([blob(key) + scale_pinned(p) for key, p in pairs(image["pinned"], unhex)]),
        keys(image["gas_slots"]), keys(image["quota_slots"]),
        option(image["catcher_slot"], lambda key: blob(unhex(key))),
        vec([blob(name) + blob(unhex(v)) for name, v in pairs(image["metadata"], str.encode)]),
    ])

# -- proofs ------------------------------------------------------------------------------------

def check(good, reason):
    if not good: sys.exit("verify_proof: " + reason)

def check_step(root, step):
    """The cap id a step's key holds in the trie of this root, or None."""
    path, siblings, end = H(unhex(step["key"])), [unhex(s) for s in step["siblings"]], step["end"]
    check(len(siblings) <= 256, "a step has too many siblings")
    node, cap = ZERO, None
    if end != "empty":
        entry, found = unhex(end["leaf"]["key_hash"]), unhex(end["leaf"]["cap"])
        check(all(bit(entry, i) == bit(path, i) for i in range(len(siblings))), "an entry lies off its path")
        node, cap = H(b"\x03", entry, found), found if entry == path else None
    for i in reversed(range(len(siblings))):
        node = H(b"\x04", siblings[i], node) if bit(path, i) else H(b"\x04", node, siblings[i])
    check(node == root, "a step does not hash to its trie root")
    return cap

def check_header(proof, state_root):
    header = proof.get("header")
    if isinstance(header, dict):
        fields = [("genesis", 0), ("parent", 0), ("height", 8), ("slot", 8),
                  ("body_root", 0), ("state_root", 0), ("outcome_root", 0)]
        header = b"".join(le(header[f], size) if size else unhex(header[f]) for f, size in fields)
    elif header is not None:
        header = unhex(header)
    if header is None: return "no header: the state root is taken as given"
    check(len(header) == 176, "the header is not 176 bytes long")
    check(header[112:144] == state_root, "the state root is not the header's")
    check(H(b"\x70", header) == unhex(proof["block"]), "the header does not hash to the block")
    return "block " + proof["block"]

def check_proof(proof, args):
    if "error" in proof: sys.exit("verify_proof: the node answered an error: " + json.dumps(proof["error"]))
    proof = proof.get("result", proof)
    i, steps, state_root = proof["instance"], proof["steps"], unhex(proof["state_root"])
    root = unhex(i["trie_root"])
    top = instance_id(unhex(i["type"]), unhex(i["image"]), root, unhex(i["status"]))
    check(H(b"\x60", top) == state_root, "the instance does not hash to the state root")
    check(args.state_root is None or unhex(args.state_root) == state_root, "another state root was asked for")
    asked = [unhex(key) for key in args.path.split(",")] if args.path else None
    given = [unhex(step["key"]) for step in steps]
    check(given and (asked is None or given == asked[:len(given)]), "the steps are not those of the path")
    print(check_header(proof, state_root))
    cap, data = None, proof.get("data")
    for n, step in enumerate(steps):
        cap, child = check_step(root, step), step.get("trie_root")
        if cap is None: check(n + 1 == len(steps), "steps go on where nothing is"); break
        if child is not None: check(H(b"\x40", unhex(child)) == cap, "a trie_root is not the one of its step")
        check(child is not None or n + 1 == len(steps), "a step goes on without a CNode")
        root = unhex(child) if child is not None else None
    if cap is None:
        check(data is None, "data of nothing")
        return print("absent")
    check(asked is None or len(given) == len(asked), "the steps end before the path does")
    check(data is None or data_id(unhex(data)) == cap, "the data does not hash to the capability")
    print("present", tohex(cap), *([data] if data is not None else []))

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default="-")
    parser.add_argument("--ids", action="store_true")
    parser.add_argument("--state-root")
    parser.add_argument("--path")
    args = parser.parse_args()
    source = json.load(sys.stdin if args.file == "-" else open(args.file))
    if not args.ids: return check_proof(source, args)
    tables = [cap.get("cnode") or cap.get("instance", {}).get("table", []) for cap in source]
    print(json.dumps([{"id": tohex(cap_id(cap)), "root": tohex(table_root(table))}
                      for cap, table in zip(source, tables)]))

if __name__ == "__main__":
    try: main()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        sys.exit(f"verify_proof: the input has not the form of a state_proof answer: {error!r}")
