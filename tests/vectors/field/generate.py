"""Writes the vectors of docs/format.md with another implementation than the crate's: OpenSSL, through `cryptography`.

Run it from anywhere: `python3 tests/vectors/field/generate.py`. The files it writes are part of the repository; a vector is
never changed to make a test pass.
"""
import hashlib, hmac, json, pathlib, struct, unicodedata
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = pathlib.Path(__file__).parent
KEY = bytes(range(32))
HOME = dict(tenant="clinic-a", subject="11" * 16, klass="clinical", table="notes", column="text", row="22" * 16)
IV = {1: bytes(range(100, 112)), 2: bytes(range(100, 124))}


def xaes(key, nonce, plain, aad):
    ecb = lambda block: Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)
    l = int.from_bytes(ecb(bytes(16)))
    k1 = (l << 1) & ((1 << 128) - 1) ^ (0x87 if l >> 127 else 0)
    half = lambda n: ecb((int.from_bytes(bytes([0, n]) + b"X\0" + nonce[:12]) ^ k1).to_bytes(16))
    return AESGCM(half(1) + half(2)).encrypt(nonce[12:], plain, aad)


def aad(version, suite, epoch, at, prefixed=True):
    out = struct.pack(">BBI", version, suite, epoch)
    ascii_or = lambda name: at[name].encode()
    parts = [ascii_or("tenant"), bytes.fromhex(at["subject"] or ""), ascii_or("klass"), ascii_or("table"),
             ascii_or("column"), bytes.fromhex(at["row"])]
    return out + b"".join((bytes([len(p)]) if prefixed else b"") + p for p in parts)


def seal(plain, suite=1, version=1, epoch=7, key=KEY, algorithm=None, prefixed=True, **elsewhere):
    at = HOME | (dict(subject=None) if suite == 2 else {}) | elsewhere
    data = aad(version, suite, epoch, at, prefixed)
    algorithm = algorithm or suite
    iv = IV[algorithm]
    body = AESGCM(key).encrypt(iv, plain, data) if algorithm == 1 else xaes(key, iv, plain, data)
    return struct.pack(">BBI", version, suite, epoch) + iv + body


def case(name, sealed, type="bytes", reader="subject", plain=None, pad_to=None):
    """What the reader has: `KEY` as a person's or a clinic's key of epoch 7, and HOME."""
    at = HOME | (dict(subject=None) if reader == "clinic" else {})
    at["class"] = at.pop("klass")
    out = dict(name=name, reader=reader, key=KEY.hex(), epoch=7, **at, type=type, sealed=sealed.hex())
    if plain is not None:
        out["plain"] = plain.hex()
    if pad_to:
        out["pad_to"] = pad_to
    return out


def flip(sealed, at, bit=1):
    return sealed[:at] + bytes([sealed[at] ^ bit]) + sealed[at + 1:]


def write(rule, cases):
    names = [c["name"] for c in cases]
    assert len(names) == len(set(names)), rule
    (HERE / f"{rule}.json").write_text(json.dumps(cases, indent=1, ensure_ascii=True) + "\n")


good, good2 = seal(b"fever"), seal(b"fever", suite=2)
date = lambda y, m, d: struct.pack(">hbb", y, m, d)
stamp = lambda s, n: struct.pack(">qI", s, n)

write("valid", [
    case("text of a person", good, "text", plain=b"fever"),
    case("text of a clinic", good2, "text", reader="clinic", plain=b"fever"),
    case("empty text", seal(b""), "text", plain=b""),
    case("empty bytes of a clinic", seal(b"", suite=2), "bytes", reader="clinic", plain=b""),
    case("text beyond ASCII", seal("Ærø 🩺".encode()), "text", plain="Ærø 🩺".encode()),
    case("bytes over several blocks", seal(bytes(range(256))), plain=bytes(range(256))),
    case("the least integer", seal(struct.pack(">q", -2**63)), "integer", plain=struct.pack(">q", -2**63)),
    case("no", seal(b"\0"), "bool", plain=b"\0"),
    case("yes", seal(b"\1"), "bool", plain=b"\1"),
    case("a leap day", seal(date(2024, 2, 29)), "date", plain=date(2024, 2, 29)),
    case("a date before the common era", seal(date(-9999, 1, 1)), "date", plain=date(-9999, 1, 1)),
    case("half a second before 1970", seal(stamp(-1, 500_000_000)), "timestamp", plain=stamp(-1, 500_000_000)),
    case("json", seal(b'{"b":[1,"a b\\" c"],"a":null}'), "json", plain=b'{"b":[1,"a b\\" c"],"a":null}'),
])
write("too_short", [
    case("nothing", b""),
    case("a version alone", good[:1]),
    case("version and suite alone", good[:2]),
    case("a header alone", good[:6]),
    case("no tag", good[:18]),
    case("suite 1, one byte short", seal(b"")[:-1]),
    case("suite 2, one byte short", seal(b"", suite=2)[:-1], reader="clinic"),
    case("suite 2 with the iv of suite 1", seal(b"", suite=2, algorithm=1), reader="clinic"),
])
write("unknown_version", [
    case("version 0", seal(b"fever", version=0)),
    case("version 2", seal(b"fever", version=2)),
    case("version 255", seal(b"fever", version=255)),
    case("plaintext that was never sealed", b"fever, and a headache since Tuesday"),
])
write("unknown_suite", [case(f"suite {n}", seal(b"fever", suite=n, algorithm=1)) for n in (0, 3, 128, 255)])
write("too_long", [
    case("suite 1, one byte too many", good[:6], pad_to=6 + 12 + 2**20 + 1 + 16),
    case("suite 2, one byte too many", good2[:6], reader="clinic", pad_to=6 + 24 + 2**20 + 1 + 16),
])
write("wrong_suite", [
    case("suite 2 under a person's key", seal(b"fever", suite=2, subject=HOME["subject"])),
    case("suite 1 under a clinic's key", seal(b"fever", suite=1, subject=None), reader="clinic"),
    case("aes-gcm that says it is xaes", seal(b"fever, long enough for both", suite=2, algorithm=1)),
])
write("wrong_epoch", [
    case("the epoch before", seal(b"fever", epoch=6)),
    case("the epoch after", seal(b"fever", epoch=8)),
    case("epoch 0", seal(b"fever", epoch=0)),
    case("little-endian", flip(flip(good, 2, 7), 5, 7)),
    case("the epoch before, of a clinic", seal(b"fever", suite=2, epoch=6), reader="clinic"),
])
moved = [("another tenant", dict(tenant="clinic-b")), ("another subject", dict(subject="33" * 16)),
         ("no subject", dict(subject=None)), ("another class", dict(klass="payroll")),
         ("another table", dict(table="letters")), ("another column", dict(column="title")),
         ("another row", dict(row="44" * 16)),
         ("table and column cut elsewhere", dict(table="note", column="stext")),
         ("class and table cut elsewhere", dict(klass="clinicaln", table="otes"))]
write("not_authentic",
    [case(f"from {name}", seal(b"fever", **at)) for name, at in moved]
    + [case("from a person, into a row of none", seal(b"fever", suite=2, subject=HOME["subject"]), reader="clinic"),
       case("from another clinic, into a row of none", seal(b"fever", suite=2, tenant="clinic-b"), reader="clinic"),
       case("under another key", seal(b"fever", key=KEY[::-1])),
       case("under another key, of a clinic", seal(b"fever", suite=2, key=KEY[::-1]), reader="clinic"),
       case("aes-gcm where xaes belongs", seal(bytes(64), suite=2, algorithm=1), reader="clinic"),
       case("associated data without lengths", seal(b"fever", prefixed=False)),
       case("a bit of the iv", flip(good, 6)), case("a bit of the ciphertext", flip(good, 18)),
       case("a bit of the tag", flip(good, len(good) - 1, 128)),
       case("a byte at the end", good + b"\0"), case("a byte in front", good[:6] + b"\0" + good[6:]),
       case("the last byte cut off", good[:-1]), case("a tag of 12 bytes", seal(bytes(32))[:-4]),
       case("a tag of zeroes", good[:-16] + bytes(16)), case("no ciphertext left", good[:18] + good[-16:]),
       case("two sealed fields in one", good + good)])
nest = lambda n: b"[" * n + b"]" * n
write("not_canonical", [case(name, seal(plain), type) for type, name, plain in [
    ("text", "latin-1", "Ærø".encode("latin-1")), ("text", "an overlong slash", b"\xc0\xaf"),
    ("text", "a surrogate", b"\xed\xa0\x80"), ("text", "cut in a letter", "é".encode()[:1]),
    ("integer", "7 bytes", bytes(7)), ("integer", "9 bytes", bytes(9)), ("integer", "digits", b"42"),
    ("bool", "2", b"\2"), ("bool", "255", b"\xff"), ("bool", "no byte", b""), ("bool", "two bytes", b"\0\1"),
    ("date", "29 February of a common year", date(2023, 2, 29)), ("date", "month 0", date(2024, 0, 1)),
    ("date", "month 13", date(2024, 13, 1)), ("date", "day 0", date(2024, 1, 0)), ("date", "31 April", date(2024, 4, 31)),
    ("date", "a negative day", date(2024, 1, -1)), ("date", "the year 10,000", date(10000, 1, 1)),
    ("date", "text", b"2024-02-29"), ("date", "3 bytes", bytes(3)),
    ("timestamp", "a billion nanoseconds", stamp(0, 10**9)), ("timestamp", "out of range", stamp(2**62, 0)),
    ("timestamp", "out of range, before", stamp(-2**63, 0)), ("timestamp", "seconds alone", bytes(8)),
    ("timestamp", "13 bytes", bytes(13)),
    ("json", "white space after a comma", b'[1, 2]'), ("json", "a line feed at the end", b"1\n"),
    ("json", "two values", b"1,2"), ("json", "a value and a half", b'{"a":1}}'), ("json", "cut off", b'{"a":'),
    ("json", "nothing", b""), ("json", "a member named twice", b'{"a":1,"a":2}'),
    ("json", "a member named twice, once escaped", b'{"a":1,"\\u0061":2}'),
    ("json", "a member named twice, within", b'[{"x":{"a":1,"a":2}}]'),
    ("json", "128 deep", nest(128)), ("json", "not UTF-8", b'"\xff"'), ("json", "a control character", b'"\x01"'),
    ("json", "a byte order mark", b"\xef\xbb\xbf1"), ("json", "not a number", b"NaN"), ("json", "a leading zero", b"01"),
    ("json", "one byte too long", b'"' + b"a" * 65535 + b'"'),
]])


def normalise(text):
    text = unicodedata.normalize("NFKC", text)
    text = "".join(d.lower() for t in text for c in t.lower() for d in c.upper())
    return unicodedata.normalize("NFKC", text).strip()


def index(kind, value):
    message = struct.pack(">BBI", 1, kind, len(value)) + value
    return hmac.new(KEY, message, hashlib.sha256).digest()[:16].hex()


def text(name, *spellings):
    (form,) = {normalise(s) for s in spellings}
    return dict(name=name, type="text", values=[s.encode().hex() for s in spellings], index=index(1, form.encode()))


(HERE / "blind_index.json").write_text(json.dumps(dict(key=KEY.hex(), cases=[
    text("plain", "QQ123456C", "qq123456c", "\t QQ123456C\r\n"),
    text("empty", "", "   "),
    text("inner spaces stay", "QQ 12 34 56 C"),
    text("case beyond ASCII", "ÆRØ", "ærø", " Ærø\u00a0"),
    text("sharp s", "straße", "STRASSE", "STRAẞE"),
    text("sigmas", "ΟΔΟΣ", "οδος", "οδοσ"),
    text("composed and decomposed", "Zoë", "Zoe\u0308", "ZOË"),
    text("full width and ligature", "ﬁﬂ", "fifl", "ＦＩＦＬ"),
    text("accents differ", "Müller"),
    text("and are not dropped", "Muller"),
    dict(name="bytes", type="bytes", values=[b"QQ123456C".hex()], index=index(2, b"QQ123456C")),
    dict(name="integer", type="integer", values=[struct.pack(">q", 42).hex()], index=index(3, struct.pack(">q", 42))),
    dict(name="date", type="date", values=[date(1970, 1, 1).hex()], index=index(4, date(1970, 1, 1))),
]), indent=1, ensure_ascii=True) + "\n")
