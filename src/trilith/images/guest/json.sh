#!/bin/busybox sh
# JSON on standard input becomes lines of path TAB value (public_keys/name, networks/0/type …). Line breaks inside
# values become spaces.
exec awk '
function fail(what) { print "json: " what > "/dev/stderr"; failed = 1; exit 1 }
function skip() { if (match(s, /^[ \t\r\n]+/)) s = substr(s, RLENGTH + 1) }
function utf8(code) {
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
}
function hex(text,    i, code) {
    code = 0
    for (i = 1; i <= length(text); i++) code = code * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
    return code
}
function text(    raw, out, c) {
    if (!match(s, /^"([^"\\]|\\.)*"/)) fail("a string was expected")
    raw = substr(s, 2, RLENGTH - 2); s = substr(s, RLENGTH + 1); out = ""
    while ((at = index(raw, "\\")) > 0) {
        out = out substr(raw, 1, at - 1); c = substr(raw, at + 1, 1); raw = substr(raw, at + 2)
        if (c == "n" || c == "r" || c == "t") out = out " "
        else if (c == "u") { out = out utf8(hex(substr(raw, 1, 4))); raw = substr(raw, 5) }
        else if (c != "b" && c != "f") out = out c
    }
    return out raw
}
function value(path,    n, c, k) {
    skip(); c = substr(s, 1, 1)
    if (c == "{" || c == "[") {
        open[++depth] = c; s = substr(s, 2); skip(); n = 0
        if (index("}]", substr(s, 1, 1))) { s = substr(s, 2); depth--; return }
        do {
            skip()
            if (open[depth] == "{") {
                k = text(); skip()
                if (substr(s, 1, 1) != ":") fail("a colon was expected")
                s = substr(s, 2)
            } else k = n++
            value(path == "" ? k : path "/" k); skip()
            c = substr(s, 1, 1); s = substr(s, 2)
        } while (c == ",")
        if (c != "}" && c != "]") fail("an end was expected")
        depth--
    } else if (c == "\"") print path "\t" text()
    else if (match(s, /^[-+.0-9a-zA-Z]+/)) { k = substr(s, 1, RLENGTH); s = substr(s, RLENGTH + 1); print path "\t" k }
    else fail("a value was expected")
}
{ s = s $0 "\n" }
END { if (!failed) value("") }'
